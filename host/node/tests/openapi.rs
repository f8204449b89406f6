//! The checked-in OpenAPI document is the one the routes describe.

#[test]
fn the_checked_in_document_is_what_the_routes_say() {
    let checked_in = include_str!("../openapi.json");
    assert!(
        checked_in == pyro_node::openapi_document(),
        "host/node/openapi.json is not what the routes say; hint: cargo xtask openapi"
    );
}
