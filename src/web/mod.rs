//! Pages: server-made, complete without a script. A handler parses, asks the broker, answers.

mod assets;
mod csrf;
mod form;
mod frame;
mod guard;
mod moment;
mod problem;
mod rows;
mod scopes;
mod site;
mod snippets;
mod throttle;

pub use site::Site;

/// What every handler can reach. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Web {
    pub(crate) site: Site,
}
