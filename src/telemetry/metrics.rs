//! Counters and gauges. What a call touches is an atomic at a place known beforehand: no lock, no allocation, and no
//! label that a caller could make up.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use super::exposition::Exposition;
use super::health::{Health, Trouble};
use super::histogram::{Histogram, read};
use crate::ambient::Clock;
use crate::domain::grant::GrantStatus;
use crate::domain::route::Need;
use crate::domain::scope::Scope;
use crate::domain::time::Timestamp;

/// Refusals of the proxy with the status that each has; the last stands for any other.
const REFUSALS: [(&str, u16); 23] = [
    ("bad_request_target", 400),
    ("missing_app_key", 401),
    ("invalid_app_key", 401),
    ("expired_app_key", 401),
    ("insufficient_scope", 403),
    ("unknown_endpoint", 403),
    ("forbidden_origin", 403),
    ("method_not_allowed", 405),
    ("no_grant", 409),
    ("needs_consent", 409),
    ("request_too_large", 413),
    ("expectation_failed", 417),
    ("forbidden_host", 421),
    ("rate_limited", 429),
    ("request_head_too_large", 431),
    ("upstream_unreachable", 502),
    ("upstream_protocol_error", 502),
    ("refresh_unavailable", 503),
    ("storage_unavailable", 503),
    ("upstream_timeout", 504),
    ("aborted", 499),
    ("preflight", 204),
    ("other", 0),
];
/// The five scopes, `public`, and `none` where it never came to a route.
const SCOPES: usize = 7;
/// Statuses 100 to 599, and one for all others.
const STATUSES: usize = 501;
macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }
        impl $name {
            const WORDS: &'static [&'static str] = &[$($word,)*];
        }
    };
}

labels! {
    /// How a refresh ended.
    RefreshResult {
        /// New tokens are in.
        Refreshed = "refreshed",
        /// The provider rejected the refresh token.
        Rejected = "rejected",
        /// It may work later.
        Transient = "transient",
        /// It is not known whether the provider rotated.
        Uncertain = "uncertain",
        /// Our registration or settings are at fault.
        Configuration = "configuration",
    }
}

labels! {
    /// Where connections come in.
    Listener {
        /// Pages and the management API.
        Web = "web",
        /// Apps' calls.
        Proxy = "proxy",
        /// Health and metrics.
        Ops = "ops",
    }
}

labels! {
    /// Why a caller that is not known was turned away.
    UnknownCaller {
        /// It showed no key.
        MissingKey = "missing_key",
        /// Its key is not ours, or was revoked.
        InvalidKey = "invalid_key",
        /// Its key is past its expiry.
        ExpiredKey = "expired_key",
        /// It asked for a host that is not ours.
        ForbiddenHost = "forbidden_host",
        /// It came from a web page that is not listed.
        ForbiddenOrigin = "forbidden_origin",
        /// What it sent could not be read.
        BadRequest = "bad_request",
        /// There were too many connections already.
        TooManyConnections = "too_many_connections",
    }
}

/// Every metric; every clone counts into the same.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    health: Health,
    allowed: Box<[AtomicU64]>,
    refused: [[AtomicU64; REFUSALS.len()]; SCOPES],
    calls: Histogram,
    refreshes: [AtomicU64; RefreshResult::WORDS.len()],
    refresh: Histogram,
    grants: [AtomicU64; GrantStatus::ALL.len()],
    /// Milliseconds since 1970; `i64::MAX` when no grant expires.
    nearest_expiry: AtomicI64,
    connections: [AtomicI64; Listener::WORDS.len()],
    unknown: [AtomicU64; UnknownCaller::WORDS.len()],
    audit_waiting: AtomicU64,
    audit_written: AtomicU64,
}

const fn scope_index(need: Option<Need>) -> usize {
    match need {
        Some(Need::Scope(scope)) => scope as usize,
        Some(Need::Public) => 5,
        None => 6,
    }
}

fn scope_word(index: usize) -> &'static str {
    Scope::ALL.get(index).map_or(if index == 5 { "public" } else { "none" }, |scope| scope.as_str())
}

impl Metrics {
    /// All at zero.
    #[must_use]
    pub fn new(clock: Clock, health: Health) -> Self {
        Self(Arc::new(Inner {
            clock,
            health,
            allowed: (0..SCOPES * STATUSES).map(|_| AtomicU64::new(0)).collect(),
            refused: Default::default(),
            calls: Histogram::default(),
            refreshes: Default::default(),
            refresh: Histogram::default(),
            grants: Default::default(),
            nearest_expiry: AtomicI64::new(i64::MAX),
            connections: Default::default(),
            unknown: Default::default(),
            audit_waiting: AtomicU64::new(0),
            audit_written: AtomicU64::new(0),
        }))
    }

    /// One call through the proxy: what its route needed, `allowed` or the refusal's code, what the app got, and how
    /// long it took. A status is only told apart for calls that were allowed: each refusal has its own.
    pub fn call(&self, need: Option<Need>, decision: &'static str, status: u16, took: Duration) {
        let scope = scope_index(need);
        let counter = if decision == "allowed" {
            let status = usize::from(status).checked_sub(100).filter(|n| *n < STATUSES - 1).unwrap_or(STATUSES - 1);
            &self.0.allowed[scope * STATUSES + status]
        } else {
            let code = REFUSALS.iter().position(|(code, _)| *code == decision).unwrap_or(REFUSALS.len() - 1);
            &self.0.refused[scope][code]
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.0.calls.observe(took);
    }

    /// One attempt to refresh a grant.
    pub fn refresh(&self, result: RefreshResult, took: Duration) {
        self.0.refreshes[result as usize].fetch_add(1, Ordering::Relaxed);
        self.0.refresh.observe(took);
    }

    /// How many grants stand where, and when the first of them expires.
    pub fn grants(&self, counts: impl Fn(GrantStatus) -> u64, nearest_expiry: Option<Timestamp>) {
        for (n, status) in GrantStatus::ALL.iter().enumerate() {
            self.0.grants[n].store(counts(*status), Ordering::Relaxed);
        }
        self.0.nearest_expiry.store(nearest_expiry.map_or(i64::MAX, Timestamp::millis), Ordering::Relaxed);
    }

    /// A caller that is not known was turned away.
    pub fn unknown_caller(&self, reason: UnknownCaller) {
        self.0.unknown[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A connection is open until the answer is dropped.
    #[must_use]
    pub fn connection(&self, listener: Listener) -> Connection {
        self.0.connections[listener as usize].fetch_add(1, Ordering::Relaxed);
        Connection(self.clone(), listener)
    }

    /// So many audit rows wait to be written.
    pub fn audit_waiting(&self, rows: u64) {
        self.0.audit_waiting.store(rows, Ordering::Relaxed);
    }

    /// So many audit rows were written.
    pub fn audit_written(&self, rows: u64) {
        self.0.audit_written.fetch_add(rows, Ordering::Relaxed);
    }

    /// All of it in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        let mut out = Exposition::new();
        out.metric("keyfob_build_info", "gauge", "What runs; the value is always 1.");
        out.value(&[("version", env!("CARGO_PKG_VERSION"))], 1);
        self.render_calls(&mut out);
        self.render_grants(&mut out);
        self.render_process(&mut out);
        out.finish()
    }

    fn render_calls(&self, out: &mut Exposition) {
        let inner = &*self.0;
        out.metric("keyfob_proxy_requests_total", "counter", "Calls of apps by needed scope, decision and status.");
        for scope in 0..SCOPES {
            let word = scope_word(scope);
            for status in 0..STATUSES {
                let count = read(&inner.allowed[scope * STATUSES + status]);
                if count > 0 {
                    let text = if status == STATUSES - 1 { "other".to_owned() } else { (status + 100).to_string() };
                    out.value(&[("scope", word), ("decision", "allowed"), ("status", &text)], count);
                }
            }
            for ((code, status), count) in REFUSALS.iter().zip(&inner.refused[scope]) {
                if read(count) > 0 {
                    let labels = [("scope", word), ("decision", code), ("status", &status.to_string())];
                    out.value(&labels, read(count));
                }
            }
        }
        out.metric("keyfob_proxy_request_duration_seconds", "histogram", "How long calls took, to their last byte.");
        inner.calls.write(out);
        out.metric("keyfob_unknown_callers_total", "counter", "Callers turned away before they were known, by reason.");
        for (word, count) in UnknownCaller::WORDS.iter().zip(&inner.unknown) {
            out.value(&[("reason", word)], read(count));
        }
    }

    fn render_grants(&self, out: &mut Exposition) {
        let inner = &*self.0;
        out.metric("keyfob_refresh_attempts_total", "counter", "Attempts to refresh a grant, by result.");
        for (word, count) in RefreshResult::WORDS.iter().zip(&inner.refreshes) {
            out.value(&[("result", word)], read(count));
        }
        out.metric("keyfob_refresh_duration_seconds", "histogram", "How long attempts to refresh took.");
        inner.refresh.write(out);
        out.metric("keyfob_grants", "gauge", "Grants by status.");
        for (status, count) in GrantStatus::ALL.iter().zip(&inner.grants) {
            out.value(&[("status", status.as_str())], read(count));
        }
        let expiry = inner.nearest_expiry.load(Ordering::Relaxed);
        out.metric("keyfob_grant_expiry_seconds", "gauge", "Seconds until the first access token expires.");
        if expiry != i64::MAX {
            out.value(&[], (expiry - inner.clock.now().millis()).div_euclid(1000));
        }
    }

    fn render_process(&self, out: &mut Exposition) {
        let inner = &*self.0;
        out.metric("keyfob_connections", "gauge", "Open connections by listener.");
        for (word, count) in Listener::WORDS.iter().zip(&inner.connections) {
            out.value(&[("listener", word)], count.load(Ordering::Relaxed));
        }
        out.metric("keyfob_audit_rows_waiting", "gauge", "Audit rows that wait to be written.");
        out.value(&[], read(&inner.audit_waiting));
        out.metric("keyfob_audit_rows_written_total", "counter", "Audit rows written.");
        out.value(&[], read(&inner.audit_written));
        out.metric("keyfob_ready", "gauge", "1 when ready, else 0.");
        out.value(&[], u8::from(inner.health.troubles().is_empty()));
        out.metric("keyfob_storage_available", "gauge", "1 when the database can be written, else 0.");
        out.value(&[], u8::from(!inner.health.has(Trouble::Storage)));
    }
}

/// An open connection, counted until it is dropped.
#[derive(Debug)]
pub struct Connection(Metrics, Listener);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.0.connections[self.1 as usize].fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics() -> (Metrics, Health) {
        let health = Health::starting();
        (Metrics::new(Clock::test(Timestamp::from_secs(1_000)), health.clone()), health)
    }

    #[test]
    fn a_call_is_counted_under_the_names_of_the_contract() {
        let (metrics, _) = metrics();
        let vehicles = Some(Need::Scope(Scope::Vehicles));
        metrics.call(vehicles, "allowed", 200, Duration::from_millis(3));
        metrics.call(vehicles, "allowed", 200, Duration::from_mins(1));
        metrics.call(Some(Need::Scope(Scope::Controls)), "insufficient_scope", 403, Duration::ZERO);
        metrics.call(None, "made_up", 777, Duration::ZERO);
        metrics.call(Some(Need::Public), "allowed", 999, Duration::ZERO);
        let text = metrics.render();
        for line in [
            "keyfob_proxy_requests_total{scope=\"vehicles\",decision=\"allowed\",status=\"200\"} 2",
            "keyfob_proxy_requests_total{scope=\"controls\",decision=\"insufficient_scope\",status=\"403\"} 1",
            "keyfob_proxy_requests_total{scope=\"none\",decision=\"other\",status=\"0\"} 1",
            "keyfob_proxy_requests_total{scope=\"public\",decision=\"allowed\",status=\"other\"} 1",
            "keyfob_proxy_request_duration_seconds_bucket{le=\"0.001\"} 3",
            "keyfob_proxy_request_duration_seconds_bucket{le=\"0.005\"} 4",
            "keyfob_proxy_request_duration_seconds_bucket{le=\"30\"} 4",
            "keyfob_proxy_request_duration_seconds_bucket{le=\"+Inf\"} 5",
            "keyfob_proxy_request_duration_seconds_sum 60.003",
            "keyfob_proxy_request_duration_seconds_count 5",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
    }

    #[test]
    fn grants_connections_and_health_are_gauges() {
        let (metrics, health) = metrics();
        let none = metrics.render();
        assert!(
            none.contains("# TYPE keyfob_grant_expiry_seconds gauge\n")
                && !none.contains("\nkeyfob_grant_expiry_seconds")
        );
        metrics.grants(|status| u64::from(status == GrantStatus::Uncertain) * 3, Some(Timestamp::from_secs(1_090)));
        metrics.refresh(RefreshResult::Configuration, Duration::from_millis(1));
        let open = metrics.connection(Listener::Proxy);
        let text = metrics.render();
        for line in [
            "keyfob_grants{status=\"uncertain\"} 3",
            "keyfob_grants{status=\"active\"} 0",
            "keyfob_grant_expiry_seconds 90",
            "keyfob_refresh_attempts_total{result=\"configuration\"} 1",
            "keyfob_connections{listener=\"proxy\"} 1",
            "keyfob_ready 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        drop(open);
        health.clear(Trouble::Starting);
        let text = metrics.render();
        assert!(text.contains("keyfob_connections{listener=\"proxy\"} 0\n") && text.contains("keyfob_ready 1\n"));
    }

    #[test]
    fn every_metric_is_declared_once_before_its_samples() {
        let (metrics, _) = metrics();
        metrics.grants(|_| 1, Some(Timestamp::from_secs(0)));
        let mut declared = Vec::new();
        for line in metrics.render().lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(
                    !declared.contains(&name.to_owned()) && (kind == "counter") == name.ends_with("_total"),
                    "{line}"
                );
                declared.push(name.to_owned());
            } else if !line.starts_with('#') {
                assert!(line.starts_with(declared.last().unwrap().as_str()), "{line}");
            }
        }
        assert!(declared.len() >= 12);
    }
}
