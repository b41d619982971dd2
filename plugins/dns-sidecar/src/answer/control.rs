//! The superuser's questions: lines of JSON.

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::broadcast::error::RecvError;
use weft_api::daemon::{CacheLine, DnsRequest, Done, Explanation, Flushed, NameLine, UpstreamLine};
use weft_dns::message::records;
use weft_dns::query::kind;
use weft_dns::{Code, Name, Outcome, Source, Transport, Views, answer};

use super::clients::At;
use super::forward;
use super::question::Job;
use super::world::World;
use crate::channel::Endpoint;

/// Answers until the process ends.
pub(super) async fn serve(world: Arc<World>, listener: UnixListener) {
    while let Ok((stream, _)) = listener.accept().await {
        // The directory is the superuser's alone; whoever has got the socket otherwise is nobody.
        if stream.peer_cred().is_ok_and(|who| who.uid() == 0) {
            let world = Arc::clone(&world);
            tokio::spawn(async move {
                // A client that goes is not missed.
                let _ = serve_one(&world, stream).await;
            });
        }
    }
}

async fn serve_one(world: &Arc<World>, stream: UnixStream) -> std::io::Result<()> {
    const LONGEST: u64 = 4096;
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    BufReader::new(reader.take(LONGEST))
        .read_line(&mut line)
        .await?;
    let request = match serde_json::from_str::<DnsRequest>(&line) {
        Ok(request) => request,
        Err(error) => return writer.write_all(&lines(&[failure(&error)])).await,
    };
    if matches!(request, DnsRequest::Watch) {
        return watch(world, &mut writer).await;
    }
    let text = answer_to(world, request).await;
    writer.write_all(&text).await
}

fn failure(error: &impl ToString) -> Done {
    Done {
        error: Some(error.to_string()),
        ..Done::default()
    }
}

fn lines(all: &[impl Serialize]) -> Vec<u8> {
    let mut text = Vec::new();
    for one in all {
        text.extend(serde_json::to_vec(one).unwrap_or_default());
        text.push(b'\n');
    }
    text
}

async fn answer_to(world: &Arc<World>, request: DnsRequest) -> Vec<u8> {
    match request {
        DnsRequest::Names { network } => lines(&names(world, network.as_deref())),
        DnsRequest::Cache => {
            let known = world.known();
            let list = known.cache.list(world.now()).into_iter();
            let mut all: Vec<CacheLine> = list
                .map(|(name, kind, code, seconds)| CacheLine {
                    name: name.to_string(),
                    kind: kind::name(kind).into_owned(),
                    code: Code::of_number(code).name().to_owned(),
                    seconds,
                })
                .collect();
            all.sort();
            lines(&all)
        }
        DnsRequest::Flush { name } => match name.as_deref().map(Name::parse).transpose() {
            Ok(name) => {
                let entries = world.known().cache.flush(name.as_ref());
                lines(&[Flushed { entries }])
            }
            Err(error) => lines(&[failure(&error)]),
        },
        DnsRequest::Upstreams => lines(&upstreams(world)),
        DnsRequest::Peers => {
            let peers = world.peers().map(|peers| peers.peer_lines());
            lines(&peers.unwrap_or_default())
        }
        DnsRequest::PeerRoutes => {
            let routes = world.peers().map(|peers| peers.route_lines());
            lines(&routes.unwrap_or_default())
        }
        DnsRequest::Query {
            name,
            kind,
            from,
            network,
        } => match explain(world, &name, kind, &from, network.as_deref()).await {
            Ok(explanation) => lines(&[explanation]),
            Err(error) => lines(&[failure(&error)]),
        },
        // The caller's.
        DnsRequest::Watch => Vec::new(),
    }
}

fn names(world: &World, wanted: Option<&str>) -> Vec<NameLine> {
    let known = world.known();
    let mut all = Vec::new();
    for (network, served) in &known.networks {
        if wanted.is_some_and(|wanted| *wanted != **network) {
            continue;
        }
        all.extend(served.view.iter().map(|(name, data)| NameLine {
            network: network.to_string(),
            name: name.to_string(),
            kind: kind::name(data.kind()).into_owned(),
            data: data.to_string(),
        }));
    }
    all.sort();
    // What several containers say is one record.
    all.dedup();
    all
}

fn upstreams(world: &World) -> Vec<UpstreamLine> {
    let known = world.known();
    let mut all = known.all_servers();
    all.extend(known.upstreams.iter().map(|(address, _)| *address));
    all.sort_unstable();
    all.dedup();
    let line = |address| {
        let server = known.upstreams.iter().find(|(there, _)| **there == address);
        let server = server.map(|(_, server)| server.clone()).unwrap_or_default();
        UpstreamLine {
            address,
            state: server.state().to_owned(),
            microseconds: (server.time)
                .map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX)),
            asked: server.asked,
            timeouts: server.timeouts,
        }
    };
    all.into_iter().map(line).collect()
}

/// Shows each question until the client goes.
async fn watch(world: &World, writer: &mut (impl AsyncWriteExt + Unpin)) -> std::io::Result<()> {
    let mut seen = world.known().watchers.subscribe();
    loop {
        match seen.recv().await {
            Ok(one) => writer.write_all(&lines(&[one])).await?,
            // It did not keep up: what was missed is not shown.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return Ok(()),
        }
    }
}

/// Answers as if a container had asked, and says how.
async fn explain(
    world: &Arc<World>,
    name: &str,
    wanted: u16,
    from: &str,
    network: Option<&str>,
) -> Result<Explanation, String> {
    let name = Name::parse(name).map_err(|error| error.to_string())?;
    let mut message = b"\0\0\x01\0\0\x01\0\0\0\0\0\0".to_vec();
    message.extend(name.wire());
    message.push(0);
    message.extend(wanted.to_be_bytes());
    // As the C libraries ask: without EDNS.
    message.extend(b"\0\x01");
    let start = Instant::now();
    let mut out = Vec::new();
    let (mut explanation, job) = locally(world, &message, (from, network), &mut out)?;
    let forwarded = match job {
        Some(job) => Some(forward::ask(world, &job).await),
        None => None,
    };
    if let Some(forwarded) = forwarded {
        explanation.code = forwarded.code.name().to_owned();
        explanation.upstream = forwarded.server;
        explanation.reason = match forwarded.server {
            Some(_) => None,
            None => Some("no server answered: weft dns upstreams tells how they do".to_owned()),
        };
        out = forwarded.answer;
    }
    explanation.microseconds = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
    for record in records(&out).unwrap_or_default() {
        if record.kind != kind::OPT {
            let owner = record.owner().unwrap_or_default();
            let kind = kind::name(record.kind);
            let text = record.data_text();
            explanation
                .records
                .push(format!("{owner}. {} IN {kind} {text}", record.ttl));
        }
    }
    Ok(explanation)
}

/// What is known here, and the question to others if nothing is.
fn locally(
    world: &World,
    message: &[u8],
    (from, network): (&str, Option<&str>),
    out: &mut Vec<u8>,
) -> Result<(Explanation, Option<Job>), String> {
    let mut known = world.known();
    let known = &mut *known;
    let endpoint: Endpoint = (known.find(from, network).cloned())
        .ok_or_else(|| format!("{from}: no container of this name or id has names: weft dns ls"))?;
    let asker = known
        .asker_of(&endpoint)
        .ok_or_else(|| format!("{}: the network is not known", endpoint.network))?;
    let mut explanation = Explanation {
        container: endpoint.id.clone(),
        network: endpoint.network.clone(),
        servers: known
            .networks
            .get(&asker.network)
            .map(|one| one.network.servers.clone())
            .unwrap_or_default(),
        ..Explanation::default()
    };
    let views = Views {
        own: asker.view,
        others: &asker.others,
    };
    let (network, client) = (Arc::clone(&asker.network), asker.client.clone());
    let query = match answer(message, views, Transport::Tcp, 0, out) {
        Outcome::Forward(query) => query,
        Outcome::Answered { code, source, .. } => {
            explanation.code = code.name().to_owned();
            explanation.source = source.name().to_owned();
            explanation.reason = (source == Source::Refused).then(|| {
                "the network asks nobody else for names: \"forward\" of weft-dns".to_owned()
            });
            return Ok((explanation, None));
        }
        Outcome::Silent => return Err("this is no question".to_owned()),
    };
    explanation.source = Source::Forward.name().to_owned();
    let servers = known.servers_for(&network, &query.name);
    if servers.is_empty() {
        explanation.reason =
            Some("there is no server to be asked: /etc/resolv.conf names none".to_owned());
    }
    let key = weft_dns::cache::Key::of(&query, super::known::scope_of(&servers));
    if let Some(key) = &key
        && known.cache.get(key, &query, usize::MAX, world.now(), out)
    {
        explanation.source = Source::Cache.name().to_owned();
        explanation.code = Code::of_number(weft_dns::message::outcome(out).0)
            .name()
            .to_owned();
        return Ok((explanation, None));
    }
    let most = usize::MAX;
    known
        .in_flight
        .begin(&client, most, most)
        .map_err(|_| "too many questions".to_owned())?;
    let job = Job {
        query: message.to_vec(),
        transport: Transport::Udp,
        from: (
            At::Inside(endpoint.id),
            std::net::Ipv4Addr::LOCALHOST.into(),
        ),
        client,
        network,
        servers,
        part: known.part(key.as_ref(), Transport::Udp),
        key,
    };
    Ok((explanation, Some(job)))
}
