//! A private pebble: the ACME server that Let's Encrypt tests clients with.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use super::party::Authority;
use crate::gateway::until;
use crate::services::process::Process;
use crate::services::{free_port, installed};

const PEBBLE: &str = "/usr/bin/pebble";

pub struct Pebble {
    dir: TempDir,
    port: u16,
    management: u16,
    authority: Authority,
    _server: Process,
}

impl Pebble {
    /// An authority that looks for its challenges at `tls_port`, whose certificates last so many seconds.
    pub fn start(tls_port: u16, validity_seconds: u32) -> Self {
        installed(PEBBLE, "pebble");
        let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new("pebble"));
        authority.server().put(dir.path());
        let (port, management) = (free_port(), free_port());
        let config = json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{port}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": dir.path().join("fullchain.pem"),
            "privateKey": dir.path().join("key.pem"),
            "httpPort": free_port(),
            "tlsPort": tls_port,
            "certificateValidityPeriod": validity_seconds,
        } });
        fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        let mut command = Command::new(PEBBLE);
        command.arg("-config").arg(dir.path().join("config.json"));
        command
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_WFE_NONCEREJECT", "0")
            .env("PEBBLE_AUTHZREUSE", "0");
        let server = Process::start(dir.path(), false, &mut command);
        until("pebble listens", Duration::from_secs(30), || {
            sleep(Duration::from_millis(20));
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Self { dir, port, management, authority, _server: server }
    }

    pub fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.port)
    }

    /// The authority of its own HTTPS.
    pub fn ca(&self) -> &str {
        &self.authority.pem
    }

    /// The root of the certificates that it issues.
    pub fn root(&self) -> String {
        let agent = ureq::Agent::config_builder()
            .tls_config(
                ureq::tls::TlsConfig::builder()
                    .root_certs(ureq::tls::RootCerts::new_with_certs(&[ureq::tls::Certificate::from_pem(
                        self.authority.pem.as_bytes(),
                    )
                    .unwrap()]))
                    .unversioned_rustls_crypto_provider(rustls::crypto::aws_lc_rs::default_provider().into())
                    .build(),
            )
            .build()
            .new_agent();
        let url = format!("https://localhost:{}/roots/0", self.management);
        agent.get(&url).call().unwrap().body_mut().read_to_string().unwrap()
    }

    /// How many orders there were.
    pub fn orders(&self) -> usize {
        self.log().matches("Added order").count()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(PathBuf::from(self.dir.path()).join("output.log")).unwrap_or_default()
    }
}
