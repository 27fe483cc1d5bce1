//! One request in is one request out, or none (SECURITY PX-05, 07, 10, 21, 27, 33, 34, 90, 92).

use super::world::World;

#[tokio::test]
async fn a_call_passes_with_our_bearer_and_comes_back_byte_for_byte() {
    let world = World::new().await;
    world.provider.will_answer(super::provider::ok("{\"code\":200}"));
    let got = world.get("/api/vehicle/corsair?a=%31&b=+x").await;
    assert_eq!((got.status, got.text().as_str()), (200, "{\"code\":200}"));
    let seen = world.provider.one();
    assert_eq!(seen.target(), "/api/vehicle/corsair?a=%31&b=+x");
    assert_eq!(seen.values("authorization"), [format!("Bearer {}", super::world::TOKEN)]);
    assert_eq!(seen.values("host"), [world.provider.address.to_string()]);
    assert_eq!(seen.values("accept"), ["application/json"]);
}
