//! What was deleted is in no file any more.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::browser::House;
use crate::grants::put_grant;

/// Every file beside the database, and the database.
fn files(house: &House) -> Vec<(String, Vec<u8>)> {
    let directory = house.broker.store.path().parent().unwrap();
    fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap()))
        .collect()
}

fn found_in(house: &House, secret: &[u8]) -> Vec<String> {
    let holds = |content: &[u8]| content.windows(secret.len()).any(|window| window == secret);
    files(house).into_iter().filter(|(_, content)| holds(content)).map(|(name, _)| name).collect()
}

#[tokio::test]
async fn a_disconnected_grants_secrets_leave_every_file_with_the_next_housekeeping() {
    let house = House::with_admin().await;
    let grant = put_grant(&house, "car").await;
    let record = house.broker.store.find_grant(grant, None).await.unwrap().unwrap();
    let sealed = [
        record.data_key.unwrap().envelope().to_vec(),
        record.access_token.unwrap().envelope().to_vec(),
        record.refresh_token.unwrap().envelope().to_vec(),
    ];
    for secret in &sealed {
        assert!(!found_in(&house, secret).is_empty(), "it is kept while the grant lives");
        assert!(found_in(&house, b"CANARY-access").is_empty(), "and never in plain");
    }
    house.broker.disconnect(grant, None).await.unwrap().unwrap();
    assert!(house.broker.store.wipe_log().await.unwrap());
    for secret in &sealed {
        // Not even half of it.
        assert_eq!(found_in(&house, &secret[17..33]), Vec::<String>::new());
    }
    for (name, _) in files(&house) {
        let path = house.broker.store.path().with_file_name(&name);
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o077, 0, "{name}");
    }
}
