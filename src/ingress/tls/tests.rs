//! TLS over real sockets: a listener here, rustls' own client there, and raw bytes where no client would send them.

mod clients;

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use rustls::client::WantsClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    ClientConfig, ConfigBuilder, HandshakeKind, ProtocolVersion, RootCertStore, SupportedProtocolVersion,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_rustls::{TlsConnector, client};

use super::acme::AcmeSettings;
use super::kept::Kept;
use super::*;
use crate::clock::{Clock, System};
use crate::metrics::Metrics;

const NAME: &str = "hooks.example.com";
/// Longer than any handshake of these tests takes.
const LATE: Duration = Duration::from_secs(5);

struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
struct Issued {
    certificate: String,
    key: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    fn issue(&self, usage: ExtendedKeyUsagePurpose, change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let mut params = CertificateParams::new([NAME.to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Issued { certificate, key: key.serialize_pem() }
    }

    fn server(&self) -> Issued {
        self.issue(ExtendedKeyUsagePurpose::ServerAuth, |_| ())
    }
}

/// An endpoint with files, a listener, and the authority that its clients trust.
struct Bench {
    dir: TempDir,
    authority: Authority,
    tls: Arc<Tls>,
    metrics: Metrics,
    listener: TcpListener,
}

impl Bench {
    async fn new(change: impl FnOnce(&mut TlsSettings)) -> Self {
        let (dir, authority, metrics) = (tempfile::tempdir().unwrap(), Authority::new("web"), Metrics::new());
        put(dir.path(), &authority.server());
        let mut settings = settings(dir.path());
        change(&mut settings);
        let clock: Arc<dyn Clock> = Arc::new(System::new());
        let tls = Tls::open(settings, clock, metrics.tls()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { dir, authority, tls, metrics, listener }
    }

    fn client(&self, versions: &[&'static SupportedProtocolVersion], own: Option<&Issued>) -> ClientConfig {
        let builder = self.trusting(versions);
        match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let chain = vec![CertificateDer::from_pem_slice(own.certificate.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        }
    }

    /// A client that shows `own`, whoever asks and whether or not the key is its.
    fn bold(&self, versions: &[&'static SupportedProtocolVersion], own: &Issued) -> ClientConfig {
        let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
        let key = super::config::provider().key_provider.load_private_key(key).unwrap();
        let own = SingleCertAndKey::from(CertifiedKey::new(vec![der(own)], key));
        self.trusting(versions).with_client_cert_resolver(Arc::new(own))
    }

    fn trusting(
        &self,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ConfigBuilder<ClientConfig, WantsClientCert> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.certificate.clone()).unwrap();
        ClientConfig::builder_with_provider(super::config::provider())
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
    }

    /// Both ends of a new connection.
    async fn sockets(&self) -> (TcpStream, TcpStream) {
        let there = TcpStream::connect(self.listener.local_addr().unwrap()).await.unwrap();
        (self.listener.accept().await.unwrap().0, there)
    }

    /// A handshake, and a byte each way so that tickets and late refusals have come.
    async fn shake(&self, config: &Arc<ClientConfig>) -> (std::io::Result<Option<Accepted>>, Client) {
        let (here, there) = self.sockets().await;
        let name = ServerName::try_from(NAME).unwrap();
        let connector = TlsConnector::from(Arc::clone(config));
        let server = async {
            let mut accepted = self.tls.accept(here, sleep(LATE)).await;
            if let Ok(Some(accepted)) = &mut accepted {
                accepted.stream.write_all(b"!").await.unwrap();
                accepted.stream.flush().await.unwrap();
            }
            accepted
        };
        let client = async {
            let mut stream = connector.connect(name, there).await?;
            stream.read_exact(&mut [0]).await?;
            Ok(stream)
        };
        tokio::join!(server, client)
    }

    /// What a client with a new connection is shown.
    async fn shown(&self) -> CertificateDer<'static> {
        let config = Arc::new(self.client(rustls::ALL_VERSIONS, None));
        let stream = self.shake(&config).await.1.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone()
    }

    fn counted(&self, line: &str) -> bool {
        self.metrics.encode().contains(line)
    }

    fn failed(&self, reason: &str) -> bool {
        self.counted(&format!("hookgate_tls_handshakes_failed_total{{reason=\"{reason}\"}} 1\n"))
    }
}

type Client = std::io::Result<client::TlsStream<TcpStream>>;

fn settings(dir: &Path) -> TlsSettings {
    TlsSettings {
        certificate: CertificateFrom::Files {
            certificate: dir.join("fullchain.pem"),
            key: dir.join("key.pem"),
        },
        min_version: MinVersion::Tls12,
        authorities: Vec::new(),
    }
}

/// Puts both files in their place, each by a rename.
fn put(dir: &Path, issued: &Issued) {
    for (name, text) in [("fullchain.pem", &issued.certificate), ("key.pem", &issued.key)] {
        fs::write(dir.join("next"), text).unwrap();
        fs::rename(dir.join("next"), dir.join(name)).unwrap();
    }
}

fn der(issued: &Issued) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap()
}

#[tokio::test]
async fn both_versions_are_spoken_with_http_1_1_and_nothing_older() {
    let bench = Bench::new(|_| ()).await;
    for (version, wanted) in [
        (&rustls::version::TLS12, ProtocolVersion::TLSv1_2),
        (&rustls::version::TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let mut config = bench.client(&[version], None);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let (accepted, stream) = bench.shake(&Arc::new(config)).await;
        assert!(accepted.unwrap().unwrap().client.is_none());
        let stream = stream.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(wanted));
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    }
    assert!(bench.counted("hookgate_tls_handshakes_total{version=\"1.2\"} 1"));
    assert!(bench.counted("hookgate_tls_handshakes_total{version=\"1.3\"} 1"));
    let mut config = bench.client(rustls::ALL_VERSIONS, None);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let (accepted, stream) = bench.shake(&Arc::new(config)).await;
    assert!(accepted.is_err() && stream.is_err());
    assert!(bench.failed("protocol"));
}

#[tokio::test]
async fn a_floor_of_1_3_refuses_1_2() {
    let bench = Bench::new(|settings| settings.min_version = MinVersion::Tls13).await;
    let old = Arc::new(bench.client(&[&rustls::version::TLS12], None));
    let (accepted, stream) = bench.shake(&old).await;
    assert!(accepted.is_err() && stream.is_err());
    assert!(bench.failed("version"), "{}", bench.metrics.encode());
    let new = Arc::new(bench.client(&[&rustls::version::TLS13], None));
    assert!(bench.shake(&new).await.0.is_ok());
}

/// The hello of a client that speaks TLS 1.1 at most, with the ciphers of its time; and with an extension that it can
/// do without.
fn hello_of_tls_1_1(signatures: bool) -> Vec<u8> {
    let ciphers = [0xc0, 0x13, 0xc0, 0x14, 0x00, 0x2f, 0x00, 0x35];
    let mut groups = vec![0x00, 0x0a, 0x00, 0x04, 0x00, 0x02, 0x00, 0x17];
    if signatures {
        groups.extend([0x00, 0x0d, 0x00, 0x04, 0x00, 0x02, 0x04, 0x03]);
    }
    let mut body = vec![0x03, 0x02];
    body.extend([7_u8; 32]);
    body.extend([0, 0, u8::try_from(ciphers.len()).unwrap()]);
    body.extend(ciphers);
    body.extend([1, 0, 0, u8::try_from(groups.len()).unwrap()]);
    body.extend(groups);
    let mut record = vec![22, 3, 1, 0, u8::try_from(body.len() + 4).unwrap()];
    record.extend([1, 0, 0, u8::try_from(body.len()).unwrap()]);
    record.extend(body);
    record
}

/// What a connection that sends `bytes` and then nothing more is told, and what it came to, at the latest after `late`.
async fn told(bench: &Bench, bytes: &[u8], late: Duration) -> (Vec<u8>, std::io::Result<Option<Accepted>>) {
    let (here, mut there) = bench.sockets().await;
    there.write_all(bytes).await.unwrap();
    let accepted = bench.tls.accept(here, sleep(late)).await;
    let mut told = Vec::new();
    let _end = there.read_to_end(&mut told).await;
    (told, accepted)
}

#[tokio::test]
async fn tls_1_1_is_told_that_its_version_is_refused() {
    let bench = Bench::new(|_| ()).await;
    // Fatal alerts: handshake_failure, protocol_version.
    for (signatures, alert) in [(false, 40), (true, 70)] {
        let (told, accepted) = told(&bench, &hello_of_tls_1_1(signatures), LATE).await;
        assert!(accepted.is_err());
        assert_eq!((told[0], &told[5..]), (21, &[2, alert][..]));
    }
    let counted = "hookgate_tls_handshakes_failed_total{reason=\"version\"} 2\n";
    assert!(bench.counted(counted), "{}", bench.metrics.encode());
}

#[tokio::test]
async fn a_plain_request_is_told_in_plain_words() {
    let bench = Bench::new(|_| ()).await;
    let (told, accepted) = told(&bench, b"POST /in/shop HTTP/1.1\r\nhost: a\r\n\r\n", LATE).await;
    assert_eq!(accepted.unwrap_err().kind(), ErrorKind::InvalidData);
    let told = String::from_utf8(told).unwrap();
    assert!(told.starts_with("HTTP/1.1 400 Bad Request\r\n") && told.contains("speaks HTTPS"), "{told}");
    assert!(bench.failed("plain_http"));
}

#[tokio::test]
async fn noise_and_silence_have_an_end() {
    let bench = Bench::new(|_| ()).await;
    let hello = hello_of_tls_1_1(true);
    for start in [&[][..], &hello[..1], &hello[..20]] {
        let (told, accepted) = told(&bench, start, Duration::from_millis(200)).await;
        assert_eq!((told.len(), accepted.unwrap_err().kind()), (0, ErrorKind::TimedOut));
    }
    assert!(bench.counted("hookgate_tls_handshakes_failed_total{reason=\"late\"} 3\n"));
    assert!(told(&bench, b"\x16\x03\x01\xff\xff garbage", LATE).await.1.is_err());
    assert!(told(&bench, b"\x80garbage of an older time", LATE).await.1.is_err());
    assert!(bench.counted("hookgate_tls_handshakes_failed_total{reason=\"malformed\"} 2\n"));
    let (here, there) = bench.sockets().await;
    drop(there);
    assert!(bench.tls.accept(here, sleep(LATE)).await.is_err());
    assert!(bench.failed("closed"), "{}", bench.metrics.encode());
}

#[tokio::test]
async fn another_certificate_is_shown_to_who_comes_and_not_to_who_is_there() {
    let bench = Bench::new(|_| ()).await;
    let config = Arc::new(bench.client(rustls::ALL_VERSIONS, None));
    let (accepted, stream) = bench.shake(&config).await;
    let (mut here, mut there) = (accepted.unwrap().unwrap().stream, stream.unwrap());
    assert!(!bench.tls.reload().unwrap(), "nothing has changed");
    let next = bench.authority.server();
    put(bench.dir.path(), &next);
    assert!(bench.tls.reload().unwrap());
    assert_eq!(bench.shown().await, der(&next));
    there.write_all(b"still here").await.unwrap();
    let mut read = [0; 10];
    here.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"still here");
    assert!(bench.counted("hookgate_tls_certificate_reloads_total{outcome=\"swapped\"} 1\n"));
}

#[tokio::test]
async fn what_cannot_be_served_is_refused_and_says_why() {
    let bench = Bench::new(|_| ()).await;
    let (dir, before) = (bench.dir.path(), bench.shown().await);
    let next = bench.authority.server();
    let ended = bench.authority.issue(ExtendedKeyUsagePurpose::ServerAuth, |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    let text = |certificate: &str, key: &str| Issued { certificate: certificate.into(), key: key.into() };
    let half = &next.certificate[..next.certificate.len() / 2];
    let bad = [
        (text(half, &next.key), "cut short"),
        (text("", &next.key), "no certificate"),
        (text(&next.certificate, ""), "no private key"),
        (text(&next.certificate, &next.key[..next.key.len() / 2]), "no private key"),
        (text(&next.certificate, &bench.authority.server().key), "not that of the first certificate"),
        (
            text(
                &next.certificate,
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n",
            ),
            "encrypted",
        ),
        (ended, "ended at 2021-01-01"),
    ];
    for (issued, why) in &bad {
        put(dir, issued);
        let error = bench.tls.reload().unwrap_err().to_string();
        assert!(error.contains(why) && error.contains("fullchain.pem"), "{why}: {error}");
        assert!(!error.contains("AA=="), "{error}");
    }
    fs::remove_file(dir.join("key.pem")).unwrap();
    assert!(bench.tls.reload().unwrap_err().to_string().contains("key.pem"));
    fs::create_dir(dir.join("key.pem")).unwrap();
    assert!(bench.tls.reload().unwrap_err().to_string().contains("no regular file"));
    fs::remove_dir(dir.join("key.pem")).unwrap();
    assert_eq!(bench.shown().await, before);
    assert!(bench.counted("hookgate_tls_certificate_reloads_total{outcome=\"refused\"} 9\n"));
    let opened = Tls::open(settings(dir), Arc::new(System::new()), Metrics::new().tls());
    assert!(matches!(opened, Err(TlsError::Unreadable(path, _)) if path.ends_with("key.pem")));
}

#[tokio::test]
async fn the_watch_waits_for_the_other_half_of_a_change() {
    let bench = Bench::new(|_| ()).await;
    let (before, next) = (bench.shown().await, bench.authority.server());
    fs::write(bench.dir.path().join("fullchain.pem"), &next.certificate).unwrap();
    bench.tls.look();
    assert!(bench.counted("hookgate_tls_certificate_reloads_total{outcome=\"refused\"} 0\n"));
    bench.tls.look();
    bench.tls.look();
    assert!(bench.counted("hookgate_tls_certificate_reloads_total{outcome=\"refused\"} 1\n"), "once");
    assert_eq!(bench.shown().await, before);
    fs::write(bench.dir.path().join("key.pem"), &next.key).unwrap();
    bench.tls.look();
    assert_eq!(bench.shown().await, der(&next), "what is whole is not waited with");
}

#[tokio::test]
async fn the_watch_follows_links_as_kubernetes_swaps_them() {
    let bench = Bench::new(|settings| {
        let CertificateFrom::Files { certificate, key } = &mut settings.certificate else { return };
        let dir = certificate.parent().unwrap().to_owned();
        fs::create_dir(dir.join("v1")).unwrap();
        for name in ["fullchain.pem", "key.pem"] {
            fs::rename(dir.join(name), dir.join("v1").join(name)).unwrap();
            symlink(Path::new("..data").join(name), dir.join(name)).unwrap();
        }
        symlink("v1", dir.join("..data")).unwrap();
        (*certificate, *key) = (dir.join("fullchain.pem"), dir.join("key.pem"));
    })
    .await;
    bench.tls.begin();
    let (dir, next) = (bench.dir.path(), bench.authority.server());
    assert_ne!(bench.shown().await, der(&next));
    fs::create_dir(dir.join("v2")).unwrap();
    put(&dir.join("v2"), &next);
    symlink("v2", dir.join("..tmp")).unwrap();
    fs::rename(dir.join("..tmp"), dir.join("..data")).unwrap();
    let swapped = async {
        while bench.shown().await != der(&next) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), swapped).await.unwrap();
}

#[tokio::test]
async fn without_a_certificate_yet_the_client_is_not_blamed() {
    let bench = Bench::new(|settings| {
        let CertificateFrom::Files { certificate, .. } = &settings.certificate else { return };
        settings.certificate = CertificateFrom::Acme(acme(certificate.parent().unwrap()));
    })
    .await;
    let config = Arc::new(bench.client(rustls::ALL_VERSIONS, None));
    let (accepted, stream) = bench.shake(&config).await;
    assert!(accepted.is_err() && stream.is_err());
    assert!(bench.failed("unserved"), "{}", bench.metrics.encode());
    assert!(!bench.tls.reload().unwrap());
}

fn acme(dir: &Path) -> AcmeSettings {
    AcmeSettings {
        domains: vec![NAME.to_owned()],
        contact: Vec::new(),
        directory: "https://127.0.0.1:9/dir".to_owned(),
        ca_file: None,
        dir: dir.join("acme"),
    }
}

#[tokio::test]
async fn what_an_authority_gave_is_kept_for_its_owner_alone_and_served_again() {
    let bench = Bench::new(|_| ()).await;
    let (issued, acme) = (bench.authority.server(), acme(bench.dir.path()));
    let kept = Kept::new(&acme);
    assert!(kept.certificate().unwrap().is_none() && kept.account().unwrap().is_none());
    for _ in 0..2 {
        kept.keep_account(b"a key").unwrap();
        kept.keep_certificate(format!("{}\n{}", issued.key, issued.certificate).as_bytes()).unwrap();
    }
    assert_eq!(kept.account().unwrap().unwrap().as_slice(), b"a key");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&acme.dir), 0o700);
    let files: Vec<_> = fs::read_dir(&acme.dir).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 2, "{files:?}");
    files.iter().for_each(|file| assert_eq!(mode(file), 0o600, "{file:?}"));
    let other = Kept::new(&AcmeSettings { domains: vec!["b.example".into()], ..acme.clone() });
    assert!(other.certificate().unwrap().is_none(), "other domains order anew");
    let with = |settings: &mut TlsSettings| settings.certificate = CertificateFrom::Acme(acme);
    let again = Bench { authority: bench.authority, ..Bench::new(with).await };
    assert_eq!(again.shown().await, der(&issued));
}
