//! Proxies in front of a gateway: a private nginx or HAProxy that keeps its connections to the gateway for whoever asks
//! next, as they do where replicas stand behind them.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use super::process::Process;
use super::{START, free_port, installed, loopback, wait_until};

const NGINX: &str = "/usr/sbin/nginx";
const HAPROXY: &str = "/usr/sbin/haproxy";
/// What a front lets nobody ask for: only a request that it never saw can get there.
pub const FORBIDDEN: &str = "/in/hidden";

/// Which proxy, and how lenient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As an operator would write it.
    Nginx,
    /// Passing on what it can: bodies as they come, header names as they are.
    LaxNginx,
    /// As an operator would write it.
    Haproxy,
    /// Passing on what it would refuse.
    LaxHaproxy,
    /// Telling who calls by the PROXY protocol, version 2.
    ProxyProtocol,
}

/// A proxy, running.
pub struct Front {
    port: u16,
    _process: Process,
}

impl Front {
    /// Starts a proxy in front of `gateway`.
    pub fn start(kind: Kind, gateway: SocketAddr) -> Self {
        let (dir, port) = (tempfile::tempdir().unwrap().keep(), free_port());
        let (binary, package, config) = match kind {
            Kind::Nginx => (NGINX, "nginx-light", nginx(&dir, port, gateway, "")),
            Kind::LaxNginx => {
                let lax = "ignore_invalid_headers off; underscores_in_headers on; merge_slashes off;";
                (
                    NGINX,
                    "nginx-light",
                    nginx(&dir, port, gateway, &format!("{lax} proxy_request_buffering off;")),
                )
            }
            Kind::Haproxy => (HAPROXY, "haproxy", haproxy(port, gateway, "", "")),
            Kind::LaxHaproxy => {
                (HAPROXY, "haproxy", haproxy(port, gateway, "option accept-invalid-http-request", ""))
            }
            Kind::ProxyProtocol => (HAPROXY, "haproxy", haproxy(port, gateway, "", "send-proxy-v2")),
        };
        installed(binary, package);
        let file = dir.join("front.conf");
        fs::write(&file, config).unwrap();
        let mut command = Command::new(binary);
        if binary == NGINX {
            command.arg("-e").arg(dir.join("error.log")).arg("-p").arg(&dir).arg("-c").arg(&file);
        } else {
            command.arg("-db").arg("-f").arg(&file);
        }
        let process = Process::start(&dir, true, &mut command);
        let front = Self { port, _process: process };
        wait_until("the front listens", START, || TcpStream::connect(front.address()).is_ok());
        front
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        loopback(self.port)
    }
}

fn nginx(dir: &Path, port: u16, gateway: SocketAddr, lax: &str) -> String {
    let dir = dir.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|what| format!("{what}_temp_path {dir}/{what};\n"))
        .collect();
    format!(
        "user root;\nworker_processes 1;\ndaemon off;\npid {dir}/pid;\nevents {{ worker_connections 1024; }}\n\
         http {{\naccess_log off;\n{temporary}client_max_body_size 0;\n{lax}\n\
         upstream gateway {{ server {gateway}; keepalive 1; }}\n\
         server {{\nlisten 127.0.0.1:{port};\n\
         location {FORBIDDEN} {{ return 403; }}\n\
         location / {{\nproxy_pass http://gateway;\nproxy_http_version 1.1;\nproxy_set_header Connection \"\";\n\
         proxy_set_header Host $http_host;\nproxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n\
         proxy_next_upstream off;\n}}\n}}\n}}\n"
    )
}

fn haproxy(port: u16, gateway: SocketAddr, lax: &str, protocol: &str) -> String {
    format!(
        "global\n  nbthread 1\n  maxconn 1024\n\
         defaults\n  mode http\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n  http-reuse always\n  retries 0\n\
         frontend public\n  bind 127.0.0.1:{port}\n  {lax}\n  option forwardfor\n\
         \x20 http-request deny if {{ path_beg {FORBIDDEN} }}\n  default_backend gateway\n\
         backend gateway\n  server gateway {gateway} pool-max-conn 1 {protocol}\n"
    )
}
