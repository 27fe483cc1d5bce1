//! The provider's endpoints: discovered once, pinned, and changed by the operator only.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Broker;
use crate::domain::grant::Binding;
use crate::oauth::Endpoints;

/// The name under which the pinned endpoints are kept.
const PINNED: &str = "endpoints";

#[derive(Serialize, Deserialize)]
struct Pinned {
    /// The settings that they were found under; under others they are looked for anew.
    provider: String,
    endpoints: Endpoints,
}

impl Broker {
    /// Uses the pinned endpoints, if they were found under these settings; else they are looked for when they are needed.
    pub(super) async fn settle_endpoints(&self) {
        match self.store.find_fact(PINNED).await {
            Ok(Some(kept)) => match serde_json::from_slice::<Pinned>(&kept) {
                Ok(pinned) if pinned.provider == self.settings.provider_key => self.use_endpoints(pinned.endpoints),
                Ok(_) => tracing::info!(
                    "the provider's addresses were changed in the settings; its endpoints are looked for anew"
                ),
                Err(cause) => {
                    tracing::warn!(error = %cause, "the pinned endpoints can't be read; they are looked for anew");
                }
            },
            Ok(None) => {}
            Err(cause) => tracing::warn!(error = %cause, "the pinned endpoints can't be read at the moment"),
        }
    }

    fn use_endpoints(&self, endpoints: Endpoints) {
        let binding = Binding { token_origin: endpoints.token_origin(), ..self.settings.binding.clone() };
        self.oauth.pin(endpoints);
        self.directory.rebind(binding);
    }

    /// The endpoints, looked for now if they are not known yet.
    pub async fn require_endpoints(&self) -> Option<Arc<Endpoints>> {
        if let Some(known) = self.oauth.endpoints() {
            return Some(known);
        }
        let found = match self.oauth.discover().await {
            Ok(found) => found,
            Err(cause) => {
                tracing::error!(error = %cause, "an endpoint of the settings is not the provider's");
                return None;
            }
        };
        for sentence in &found.refused {
            tracing::warn!(discovery.refused = %sentence, "something in the provider's metadata was not believed");
        }
        if found.complete {
            let pinned = Pinned { provider: self.settings.provider_key.clone(), endpoints: found.endpoints.clone() };
            match serde_json::to_vec(&pinned) {
                Ok(bytes) => {
                    if let Err(cause) = self.store.keep_fact(PINNED, &bytes).await {
                        tracing::warn!(error = %cause, "the endpoints could not be pinned");
                    }
                }
                Err(cause) => tracing::warn!(error = %cause, "the endpoints could not be written down"),
            }
        }
        self.use_endpoints(found.endpoints);
        self.oauth.endpoints()
    }

    /// Tells the operator when the provider's metadata no longer names what is pinned. Nothing changes by itself.
    pub async fn compare_endpoints(&self) {
        let Some(pinned) = self.oauth.endpoints() else { return };
        if let Ok(found) = self.oauth.discover().await
            && found.complete
        {
            let differ = pinned.differences(&found.endpoints);
            if !differ.is_empty() {
                tracing::warn!(
                    endpoints.differ = %differ.join(", "),
                    "the provider's metadata names other endpoints than the pinned ones; the pinned ones stay in use until the settings name others"
                );
            }
        }
    }
}
