//! Maps that are read on every call and changed seldom.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;

use arc_swap::ArcSwap;

const SHARDS: usize = 256;

/// Hashes what is uniform already: digests and the random end of ids.
#[derive(Default)]
struct Uniform(u64);

impl Hasher for Uniform {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some((_, last)) = bytes.split_last_chunk::<8>() {
            self.0 = u64::from_le_bytes(*last);
        }
    }
}

type Map<K, V> = HashMap<K, V, BuildHasherDefault<Uniform>>;

/// A map that readers walk without a lock and writers change a 256th of at a time.
pub(super) struct Sharded<K, V>(Box<[ArcSwap<Map<K, V>>]>);

impl<K: Hash + Eq + Clone, V: Clone> Sharded<K, V> {
    pub(super) fn new() -> Self {
        Self((0..SHARDS).map(|_| ArcSwap::default()).collect())
    }

    fn shard(&self, key: &K) -> &ArcSwap<Map<K, V>> {
        let mut hasher = Uniform::default();
        key.hash(&mut hasher);
        // The map itself uses the low and the top bits.
        &self.0[usize::try_from((hasher.finish() >> 24) & 0xff).unwrap_or(0)]
    }

    pub(super) fn find<R>(&self, key: &K, read: impl FnOnce(&V) -> R) -> Option<R> {
        self.shard(key).load().get(key).map(read)
    }

    pub(super) fn put(&self, key: &K, value: Option<&V>) {
        self.shard(key).rcu(|map| {
            let mut map = Map::clone(map);
            match value {
                Some(value) => map.insert(key.clone(), value.clone()),
                None => map.remove(key),
            };
            map
        });
    }

    pub(super) fn fill(&self, entries: impl IntoIterator<Item = (K, V)>) {
        let mut maps: Vec<Map<K, V>> = (0..SHARDS).map(|_| Map::default()).collect();
        for (key, value) in entries {
            let mut hasher = Uniform::default();
            key.hash(&mut hasher);
            maps[usize::try_from((hasher.finish() >> 24) & 0xff).unwrap_or(0)].insert(key, value);
        }
        for (shard, map) in self.0.iter().zip(maps) {
            shard.store(Arc::new(map));
        }
    }

    pub(super) fn values(&self) -> Vec<V> {
        self.0.iter().flat_map(|shard| shard.load().values().cloned().collect::<Vec<_>>()).collect()
    }
}
