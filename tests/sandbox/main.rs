//! The sandbox on a real socket, compared with what was captured from the provider's own framework.

mod browser;
mod token;
