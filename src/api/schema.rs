//! How the words of the field look in the description: made of the words themselves, so that they can't differ.

use std::borrow::Cow;

use utoipa::openapi::schema::{Object, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use super::audit::EventKind;
use crate::domain::audit::kind;
use crate::domain::grant::{ConsentReason, GrantKind, GrantStatus, ScopesSource};
use crate::domain::scope::Scope;
use crate::domain::user::{Role, User};

macro_rules! words {
    ($($word:ident: $all:expr;)*) => {$(
        impl PartialSchema for $word {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new().schema_type(Type::String).enum_values(Some($all.iter().map(|word| word.as_str()))).into()
            }
        }
        impl ToSchema for $word {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed(stringify!($word))
            }
        }
    )*};
}

words! {
    Scope: Scope::ALL;
    GrantKind: GrantKind::ALL;
    GrantStatus: GrantStatus::ALL;
    ConsentReason: ConsentReason::ALL;
    ScopesSource: ScopesSource::ALL;
    Role: [Role::Admin, Role::Member];
}

impl PartialSchema for EventKind {
    fn schema() -> RefOr<Schema> {
        text().enum_values(Some(kind::ALL)).into()
    }
}

impl ToSchema for EventKind {}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn formatted(format: &str) -> Object {
    text().format(Some(SchemaFormat::Custom(format.to_owned()))).build()
}

impl PartialSchema for User {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .property("id", formatted("uuid"))
            .property("name", text())
            .property("role", Ref::from_schema_name("Role"))
            .property("created_at", formatted("date-time"))
            .required("id")
            .required("name")
            .required("role")
            .required("created_at")
            .into()
    }
}

impl ToSchema for User {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("User")
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((Role::name().into_owned(), Role::schema()));
    }
}
