use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::domain::secret::{AccessToken, CodeVerifier, MasterKey, RefreshToken};
use crate::domain::time::Timestamp;

fn place(row: &[u8]) -> Place<'_> {
    Place { table: "grants", row, column: "access_token", version: 3 }
}

fn grant(entropy: &Entropy) -> GrantId {
    GrantId::new(Timestamp::from_secs(1_800_000_000), entropy.bytes())
}

struct Home {
    dir: tempfile::TempDir,
    entropy: Entropy,
}

impl Home {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), entropy: Entropy::seeded(7) }
    }
    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("master.keys")
    }
    fn file(&self) -> KeyFile {
        KeyFile::new(self.path(), None)
    }
    fn vault(&self) -> Vault {
        Vault::new(KeyRing::create_new(self.file(), &self.entropy).unwrap(), self.entropy.clone())
    }
    fn open(&self) -> Result<Vault, KeyFileError> {
        KeyRing::open(self.file()).map(|ring| Vault::new(ring, self.entropy.clone()))
    }
    fn write(&self, text: &str) {
        fs::write(self.path(), text).unwrap();
        fs::set_permissions(self.path(), fs::Permissions::from_mode(0o600)).unwrap();
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn a_new_key_file_is_owner_only_and_seals_what_a_second_start_opens() {
    let home = Home::new();
    let sealed = home.vault().seal(&place(b"r"), &Secret::<AccessToken>::new("CANARY"));
    assert_eq!(mode(&home.path()), 0o600);
    assert_eq!(fs::read_dir(home.dir.path()).unwrap().count(), 1, "nothing is left beside it");
    let opened = home.open().unwrap().open(&place(b"r"), &sealed).unwrap();
    assert_eq!(opened.expose(), b"CANARY");
}

#[test]
fn a_key_file_is_never_made_over_another_nor_made_by_opening() {
    let home = Home::new();
    assert!(matches!(home.open(), Err(KeyFileError::Missing { .. })));
    assert!(!home.path().exists());
    home.write("kept");
    assert!(matches!(KeyRing::create_new(home.file(), &home.entropy), Err(KeyFileError::Exists { .. })));
    assert_eq!(fs::read_to_string(home.path()).unwrap(), "kept");
}

#[test]
fn a_key_file_that_others_can_use_is_refused() {
    let home = Home::new();
    home.vault();
    for loose in [0o640, 0o604, 0o660, 0o602, 0o610] {
        fs::set_permissions(home.path(), fs::Permissions::from_mode(loose)).unwrap();
        assert!(matches!(home.open(), Err(KeyFileError::Loose { mode, .. }) if mode == loose));
    }
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o400)).unwrap();
    home.open().unwrap();
    fs::set_permissions(home.dir.path(), fs::Permissions::from_mode(0o770)).unwrap();
    assert!(matches!(home.open(), Err(KeyFileError::LooseDirectory { mode: 0o770, .. })));
}

#[test]
fn links_fifos_and_directories_are_no_key_files() {
    let home = Home::new();
    home.vault();
    let moved = home.dir.path().join("elsewhere");
    fs::rename(home.path(), &moved).unwrap();
    symlink(&moved, home.path()).unwrap();
    assert!(matches!(home.open(), Err(KeyFileError::Symlink { .. })));
    fs::remove_file(home.path()).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, home.path(), rustix::fs::Mode::RUSR).unwrap();
    assert!(matches!(home.open(), Err(KeyFileError::NotAFile { .. })));
    fs::remove_file(home.path()).unwrap();
    fs::create_dir(home.path()).unwrap();
    assert!(matches!(home.open(), Err(KeyFileError::NotAFile { .. })));
}

#[test]
fn a_file_of_the_credentials_directory_may_be_read_by_others_and_linked_to_but_not_written() {
    let home = Home::new();
    home.vault();
    let credentials = home.dir.path().join("credentials");
    fs::create_dir(&credentials).unwrap();
    fs::rename(home.path(), credentials.join("keys")).unwrap();
    fs::set_permissions(credentials.join("keys"), fs::Permissions::from_mode(0o444)).unwrap();
    symlink(credentials.join("keys"), home.path()).unwrap();
    assert!(home.open().is_err(), "only where the system says so");
    let file = KeyFile::new(home.path(), Some(credentials.clone()));
    let vault = Vault::new(KeyRing::open(file.clone()).unwrap(), home.entropy.clone());
    assert!(matches!(vault.add_key(), Err(KeyFileError::ReadOnly { .. })));
    fs::set_permissions(credentials.join("keys"), fs::Permissions::from_mode(0o664)).unwrap();
    assert!(matches!(KeyRing::open(file), Err(KeyFileError::Loose { .. })));
}

#[test]
fn a_malformed_key_file_is_refused_by_its_line_and_without_its_content() {
    let home = Home::new();
    let a = "aaaaaaaa AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let b = "bbbbbbbb BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA";
    for (text, line) in [
        (format!("# note\n{a}\naaaaaaaa BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA\n"), 3),
        (format!("{a}\nbbbbbbbb AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n"), 2),
        (format!("{a}\nbbbbbbbb\n"), 2),
        (format!("{a}x\n"), 1),
        (a.replace("aaaaaaaa", "AAAAAAAA"), 1),
        (a.replace("aaaaaaaa", "aaaa"), 1),
        (format!("{a} extra\n"), 1),
        (format!("{}\n", &a[..a.len() - 1]), 1),
        (format!("{}B\n", &a[..a.len() - 1]), 1),
        ("\u{0}\u{1}".to_owned(), 1),
    ] {
        home.write(&text);
        let error = home.open().unwrap_err();
        assert!(matches!(error, KeyFileError::Malformed { line: found, .. } if found == line), "{text:?}: {error}");
        assert!(!format!("{error} {error:?}").contains("AAAA"), "{error}");
    }
    home.write("# nothing\n\n");
    assert!(matches!(home.open(), Err(KeyFileError::Empty { .. })));
    home.write(&format!("\n# note\n  {a}   # made in 2026\r\n\t{b}"));
    assert_eq!(format!("{:?}", home.open().unwrap().key_ids()), "[aaaaaaaa, bbbbbbbb]");
}

#[test]
fn the_same_secret_never_seals_alike_and_nonces_do_not_repeat() {
    let home = Home::new();
    let key = home.vault().new_data_key(grant(&home.entropy)).0;
    let secret = Secret::<AccessToken>::new("t");
    let mut nonces = HashSet::new();
    for _ in 0..100_000 {
        let sealed = key.seal(&place(b"r"), &secret);
        assert_eq!(sealed.envelope()[0], 1);
        assert!(nonces.insert(sealed.envelope()[5..17].to_vec()), "a nonce repeats");
    }
}

#[test]
fn a_data_key_opens_for_its_grant_only_and_its_tokens_under_it_only() {
    let home = Home::new();
    let vault = home.vault();
    let (mine, other) = (grant(&home.entropy), grant(&home.entropy));
    let (key, sealed_key) = vault.new_data_key(mine);
    let token = key.seal(&place(b"r"), &Secret::<RefreshToken>::new("CANARY"));
    let again = vault.open_data_key(mine, &sealed_key).unwrap();
    assert_eq!(again.open(&place(b"r"), &token).unwrap().expose(), b"CANARY");
    assert_eq!(vault.open_data_key(other, &sealed_key).unwrap_err(), OpenError::Refused);
    let stranger = vault.new_data_key(mine).0;
    assert!(matches!(stranger.open(&place(b"r"), &token), Err(OpenError::UnknownKey(_))));
    assert_eq!(format!("{key:?}"), "[grant key redacted]");
}

#[test]
fn an_unknown_version_and_an_unknown_key_are_refused_without_a_second_try() {
    let home = Home::new();
    let vault = home.vault();
    let sealed = vault.seal(&place(b"r"), &Secret::<AccessToken>::new("t"));
    let mut envelope = sealed.envelope().to_vec();
    envelope[0] = 2;
    let newer = Sealed::<AccessToken>::from_envelope(envelope.clone());
    assert_eq!(vault.open(&place(b"r"), &newer).unwrap_err(), OpenError::UnknownVersion(2));
    envelope[0] = 1;
    envelope[1] ^= 0xff;
    let foreign = Sealed::<AccessToken>::from_envelope(envelope);
    assert!(matches!(vault.open(&place(b"r"), &foreign), Err(OpenError::UnknownKey(_))));
    for len in 0..33 {
        let short = Sealed::<AccessToken>::from_envelope(sealed.envelope()[..len].to_vec());
        assert_eq!(vault.open(&place(b"r"), &short).unwrap_err(), OpenError::Truncated);
    }
}

#[test]
fn the_canary_tells_a_right_ring_from_a_wrong_one() {
    let (home, other) = (Home::new(), Home::new());
    let vault = home.vault();
    let canary = vault.seal_canary();
    vault.check_canary(&canary).unwrap();
    let _ = other.entropy.bytes::<8>();
    assert!(matches!(other.vault().check_canary(&canary), Err(OpenError::UnknownKey(_))));
    // The same id over another key, as after a mistake by hand.
    let id = vault.sealing_key();
    other.write(&format!("{id} BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA\n"));
    assert_eq!(other.open().unwrap().check_canary(&canary).unwrap_err(), OpenError::Refused);
}

#[test]
fn a_rotation_is_followed_by_another_process_and_ends_in_retirement() {
    let home = Home::new();
    let vault = home.vault();
    let elsewhere = home.open().unwrap();
    let old = vault.sealing_key();
    let id = grant(&home.entropy);
    let (key, before) = vault.new_data_key(id);
    let token = key.seal(&place(b"r"), &Secret::<AccessToken>::new("CANARY"));

    let new = vault.add_key().unwrap();
    assert_eq!(vault.key_ids(), [new, old]);
    assert_eq!(mode(&home.path()), 0o600);
    assert!(fs::read_to_string(home.path()).unwrap().starts_with("# Keyfob's master keys."));
    let after = vault.reseal_data_key(id, &before).unwrap().unwrap();
    assert_eq!(KeyId::of(&after).unwrap(), new);
    assert!(vault.reseal_data_key(id, &after).unwrap().is_none());

    // The other process has not been told: it meets the new id, and it seals under the new key.
    let opened = elsewhere.open_data_key(id, &after).unwrap();
    assert_eq!(opened.open(&place(b"r"), &token).unwrap().expose(), b"CANARY");
    assert_eq!(KeyId::of(&elsewhere.new_data_key(id).1).unwrap(), new);

    assert!(matches!(vault.retire(&[new]), Err(KeyFileError::Sealing { .. })));
    vault.retire(&[old]).unwrap();
    assert!(vault.open_data_key(id, &before).is_ok(), "still opens what was sealed at the last moment");
    assert!(matches!(home.open().unwrap().open_data_key(id, &before), Err(OpenError::UnknownKey(_))));
    assert_eq!(home.open().unwrap().key_ids(), [new]);
}

#[test]
fn a_process_that_has_not_heard_of_a_retirement_does_not_seal_under_the_retired_key() {
    let home = Home::new();
    let (vault, elsewhere) = (home.vault(), home.open().unwrap());
    let old = vault.sealing_key();
    let new = vault.add_key().unwrap();
    vault.retire(&[old]).unwrap();
    let sealed = elsewhere.seal(&place(b"r"), &Secret::<CodeVerifier>::new("v"));
    assert_eq!(KeyId::of(&sealed).unwrap(), new);
}

#[test]
fn a_key_made_by_hand_is_a_line_that_can_be_put_first() {
    let home = Home::new();
    let vault = home.vault();
    let (id, line): (KeyId, Secret<MasterKey>) = KeyRing::new_line(&home.entropy);
    home.write(&format!("{}{}", line.expose_str().unwrap(), fs::read_to_string(home.path()).unwrap()));
    vault.reread().unwrap();
    assert_eq!(vault.sealing_key(), id);
    assert_eq!(format!("{line:?}"), "[master_key redacted]");
}

#[test]
fn a_key_file_that_can_not_be_read_again_leaves_the_ring_in_use() {
    let home = Home::new();
    let vault = home.vault();
    let sealed = vault.seal(&place(b"r"), &Secret::<AccessToken>::new("t"));
    home.write("broken");
    assert!(vault.reread().is_err());
    let second = vault.seal(&place(b"r"), &Secret::<AccessToken>::new("t"));
    assert!(vault.open(&place(b"r"), &sealed).is_ok() && vault.open(&place(b"r"), &second).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_moved_ciphertext_never_opens(row in prop::collection::vec(any::<u8>(), 0..20), other in prop::collection::vec(any::<u8>(), 0..20), version in any::<i64>(), secret in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assume!(row != other);
        let home = Home::new();
        let vault = home.vault();
        let at = Place { table: "grants", row: &row, column: "access_token", version };
        let sealed = vault.seal(&at, &Secret::<AccessToken>::new(secret.clone()));
        let opened = vault.open(&at, &sealed).unwrap();
        prop_assert_eq!(opened.expose(), &secret[..]);
        for moved in [
            Place { row: &other, ..at },
            Place { column: "refresh_token", ..at },
            Place { table: "apps", ..at },
            Place { table: "grantsaccess_token", column: "", ..at },
            Place { version: version.wrapping_add(1), ..at },
        ] {
            prop_assert_eq!(vault.open(&moved, &sealed).unwrap_err(), OpenError::Refused);
        }
        let as_another_kind = Sealed::<RefreshToken>::from_envelope(sealed.envelope().to_vec());
        prop_assert_eq!(vault.open(&at, &as_another_kind).unwrap_err(), OpenError::Refused);
    }

    #[test]
    fn a_changed_bit_never_opens(secret in prop::collection::vec(any::<u8>(), 0..100), at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let home = Home::new();
        let vault = home.vault();
        let sealed = vault.seal(&place(b"r"), &Secret::<AccessToken>::new(secret));
        let mut envelope = sealed.envelope().to_vec();
        let at = at.index(envelope.len());
        envelope[at] ^= 1 << bit;
        prop_assert!(vault.open(&place(b"r"), &Sealed::<AccessToken>::from_envelope(envelope)).is_err());
    }

    #[test]
    fn no_text_makes_the_key_file_parser_panic(text in "[a-f0-9A-Za-z_# \t\r\n-]{0,200}") {
        let home = Home::new();
        home.write(&text);
        let _ = home.open();
    }
}
