//! Certificates of clients: shown, resumed, of nobody's authority, stolen, endless.

use super::*;

#[tokio::test]
async fn a_session_is_resumed_with_the_certificate_that_its_client_showed() {
    let (senders, others) = (Authority::new("senders"), Authority::new("others"));
    let bench = Bench::new(|settings| settings.authorities = vec![senders.certificate.clone()]).await;
    let own = senders.issue(ExtendedKeyUsagePurpose::ClientAuth, |_| ());
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = Arc::new(bench.client(&[version], Some(&own)));
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let (accepted, stream) = bench.shake(&config).await;
            assert_eq!(stream.unwrap().get_ref().1.handshake_kind(), Some(kind), "{version:?}");
            assert_eq!(accepted.unwrap().unwrap().client, Some(vec![der(&own)]), "{version:?} {kind:?}");
        }
        let without = Arc::new(bench.client(&[version], None));
        assert_eq!(bench.shake(&without).await.0.unwrap().unwrap().client, None);
    }
    let foreign = others.issue(ExtendedKeyUsagePurpose::ClientAuth, |_| ());
    bench.tls.trust(vec![others.certificate.clone()]).unwrap();
    let config = Arc::new(bench.client(rustls::ALL_VERSIONS, Some(&foreign)));
    assert_eq!(bench.shake(&config).await.0.unwrap().unwrap().client, Some(vec![der(&foreign)]));
}

#[tokio::test]
async fn a_certificate_of_nobodys_authority_is_for_the_sources_to_judge() {
    let senders = Authority::new("senders");
    let bench = Bench::new(|settings| settings.authorities = vec![senders.certificate.clone()]).await;
    let foreign = Authority::new("others").issue(ExtendedKeyUsagePurpose::ClientAuth, |_| ());
    let server = senders.server();
    for shown in [&foreign, &server] {
        let config = Arc::new(bench.bold(rustls::ALL_VERSIONS, shown));
        let (accepted, stream) = bench.shake(&config).await;
        assert!(stream.is_ok());
        assert_eq!(accepted.unwrap().unwrap().client, Some(vec![der(shown)]));
    }
}

#[tokio::test]
async fn a_certificate_without_its_key_or_of_no_end_is_refused() {
    let senders = Authority::new("senders");
    let bench = Bench::new(|settings| settings.authorities = vec![senders.certificate.clone()]).await;
    let own = senders.issue(ExtendedKeyUsagePurpose::ClientAuth, |_| ());
    let long = senders.issue(ExtendedKeyUsagePurpose::ClientAuth, |params| {
        let name = |n| SanType::DnsName(format!("{n:060}.example").try_into().unwrap());
        params.subject_alt_names = (0..300).map(name).collect();
    });
    let stolen = Issued { key: KeyPair::generate().unwrap().serialize_pem(), ..own };
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for shown in [&stolen, &long] {
            let config = Arc::new(bench.bold(&[version], shown));
            let (accepted, stream) = bench.shake(&config).await;
            assert!(accepted.is_err() && stream.is_err(), "{version:?}");
        }
    }
}
