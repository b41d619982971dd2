//! Makes a bridge network, attaches a container to it, and removes both.
//! The container is a network namespace: ip netns add web; connect /run/netns/web
use weft_cni::env::Env;
use weft_vnet::{DriverType, EndpointRequest, IsolationMode, NetworkRequest, VNetManager};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let netns = std::env::args()
        .nth(1)
        .ok_or("the path of a network namespace is missing")?;
    let mut vnet = VNetManager::of_environment(&Env::read())?;
    let made = vnet.create_network(&NetworkRequest {
        name: "example".to_owned(),
        driver: Some(DriverType::Bridge),
        isolation: Some(IsolationMode::PeerOnly),
        ..NetworkRequest::default()
    })?;
    let mut out = std::io::stdout();
    std::io::Write::write_fmt(
        &mut out,
        format_args!("{} has {:?}\n", made.network.name, made.network.cidr),
    )?;

    let endpoint = vnet.create_endpoint(
        "example",
        &EndpointRequest {
            container_id: "web-1".to_owned(),
            netns: netns.into(),
            name: Some("web".to_owned()),
            ..EndpointRequest::default()
        },
    )?;
    let state = vnet.state_of(&endpoint)?;
    std::io::Write::write_fmt(
        &mut out,
        format_args!("{:?}, {state:?}\n", endpoint.ip_address),
    )?;

    vnet.remove_endpoint("web")?;
    vnet.remove_network("example", false)?;
    Ok(())
}
