//! A proof is of the value that a worker finds: what two parsers could read differently proves nothing, and where
//! the body is signed as a whole it does no harm.

use super::*;

const VALUE: &str = r#"
algorithm = "hmac-sha256"
signed = ["{PLACE}"]
signature = { from = "header:x-sig", encoding = "hex" }
"#;
/// A multipart body of one field, of the boundary `b`.
const PARTS: &str = "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nreal\r\n--b--\r\n";

/// Of a request with `target`, Content-Type and body, the MAC of `real` as the value at `place`.
fn judged(place: &str, (target, kind, body): (&str, &str, &str)) -> Result<(), Reject> {
    let scheme = scheme(&VALUE.replace("PLACE", place));
    let plain = super::scheme(&VALUE.replace("{PLACE}", "{body}"));
    let mut real = delivery(&[]);
    real.body = Bytes::from_static(b"real");
    sign(&plain, SECRET.as_bytes(), &mut real, NOW).unwrap();
    let mac = std::str::from_utf8(real.headers.first("x-sig").unwrap()).unwrap();
    let mut headers = vec![("x-sig", mac)];
    headers.extend(kind.split('|').filter(|kind| !kind.is_empty()).map(|kind| ("content-type", kind)));
    let request = Delivery { target: target.to_owned(), body: body.to_owned().into(), ..delivery(&headers) };
    verdict(&scheme, SECRET, request).map(|_| ())
}

#[test]
fn a_signed_value_that_stands_twice_is_none() {
    for (place, once, twice) in [
        ("form:a", ("", "", "a=real&b=2"), ("", "", "a=real&b=2&a=evil")),
        ("form:a", ("", "", "a=real&a=real"), ("", "", "%61=evil&a=real")),
        ("form:a", ("", "", "a=real&ab=2"), ("", "", "a=real&a[]=evil")),
        ("form:a_b", ("", "", "a_b=real&A_b=1"), ("", "", "a_b=real&a.b=")),
        ("form:a_b", ("", "", "a_b=real&c=1;d=2"), ("", "", "a_b=real&c=1;a_b=2")),
        ("form:a_b", ("", "", "a_b=real"), ("", "", "a_b=real&a[b=2")),
        ("query:a", ("/?a=real", "", ""), ("/?a=real&a=evil", "", "")),
        ("query:a", ("/?a=real&A=2", "", ""), ("/?a[]=evil&a=real", "", "")),
        ("json:/a", ("", "", "{\"a\":\"real\",\"ab\":1}"), ("", "", "{\"a\":\"real\",\"A\":\"evil\"}")),
        (
            "json:/o/a",
            ("", "", "{\"o\":{\"a\":\"real\"},\"p\":{\"A\":1}}"),
            ("", "", "{\"O\":{},\"o\":{\"a\":\"real\"}}"),
        ),
        ("json:/a", ("", "", "{\"a\":\"real\"}"), ("", "", "{\"a\":\"evil\",\"a\":\"real\"}")),
        ("json:/a", ("", "", "{\"a\":\"real\"}"), ("", "", "{\"a\":1,\"\\u0061\":2,\"a\":\"real\"}")),
        (
            "json:/o/a",
            ("", "", "{\"o\":{\"a\":\"real\"}}"),
            ("", "", "{\"o\":{\"a\":1},\"o\":{\"a\":\"real\"}}"),
        ),
        ("form:p > json:/a", ("", "", "p={\"a\":\"real\"}"), ("", "", "p={\"a\":1,\"a\":\"real\"}")),
        ("xml:/o/a", ("", "", "<o><a>real</a><b/></o>"), ("", "", "<o><a>real</a><a>evil</a></o>")),
        ("xml:/o/a", ("", "", "<o><a>real</a></o>"), ("", "", "<o><a>real</a><a/></o>")),
        (
            "xml:/o/i/a",
            ("", "", "<o><i><a>real</a></i><i/></o>"),
            ("", "", "<o><i><a>real</a></i><i><a/></i></o>"),
        ),
        ("xml:/o/@a", ("", "", "<o a='real'/>"), ("", "", "<o a='real' x:a='evil'/>")),
        ("json:/b/0", ("", "", "{\"b\":[\"real\",1]}"), ("", "", "{\"b\":[\"real\"],\"b\":[\"real\"]}")),
    ] {
        assert_eq!(judged(place, once), Ok(()), "{once:?}");
        assert_eq!(judged(place, twice), Err(Reject::CompanionMissing), "{twice:?}");
    }
}

#[test]
fn a_signed_field_is_one_of_the_form_that_is_announced() {
    let multipart = "multipart/form-data; charset=utf-8; boundary=b";
    let more = |text: &str| PARTS.replace("--b--\r\n", text);
    let part = |value: &str| {
        format!("--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n{value}\r\n--b--\r\n")
    };
    let inside = format!("a=real&b=\r\n{}", part("evil"));
    for (kind, body, holds) in [
        (multipart, PARTS, true),
        ("Multipart/Form-Data; Boundary=\"b\"", PARTS, true),
        (multipart, &more(&part("real")), true),
        (multipart, &more(&part("evil")), false),
        (multipart, &more("--b--\r\n&a=evil"), false),
        (multipart, &more("--b--evil\r\n"), false),
        (
            multipart,
            &more("--b \r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nevil\r\n--b--\r\n"),
            false,
        ),
        ("multipart/form-data; boundary=c", PARTS, false),
        ("multipart/form-data", PARTS, false),
        ("application/x-www-form-urlencoded", PARTS, false),
        ("text/plain", PARTS, true),
        ("", PARTS, true),
        ("", &more(&part("evil")), false),
        ("text/plain|application/x-www-form-urlencoded", PARTS, false),
        ("multipart/form-data; boundary=b|text/plain", PARTS, false),
        ("application/x-www-form-urlencoded", "a=real", true),
        ("", "a=real", true),
        ("", &inside, true),
        (multipart, &inside, false),
        ("text/plain| multipart/form-data; boundary=b", &inside, false),
    ] {
        let wanted = if holds { Ok(()) } else { Err(Reject::CompanionMissing) };
        assert_eq!(judged("form:a", ("", kind, body)), wanted, "{kind}: {body}");
    }
}

#[test]
fn a_time_that_is_signed_by_its_place_lends_no_digit_either() {
    let rules = r#"
algorithm = "hmac-sha256"
signed = ["{query:t}{query:n}"]
signature = { from = "header:x-sig", encoding = "hex" }
timestamp = { from = "query:t", unit = "seconds" }
"#;
    let scheme = scheme(rules);
    let mut good = delivery(&[]);
    good.target = "/?n=123".to_owned();
    sign(&scheme, SECRET.as_bytes(), &mut good, NOW).unwrap();
    let moved = Delivery { target: "/?t=18000000001&n=23".to_owned(), ..good.clone() };
    assert_eq!(good.target, "/?n=123&t=1800000000");
    assert_eq!(verdict(&scheme, SECRET, good).map(|_| ()), Ok(()));
    assert_eq!(verdict(&scheme, SECRET, moved).map(|_| ()), Err(Reject::TimestampMalformed));
}

#[test]
fn in_a_body_that_is_signed_as_a_whole_a_name_may_stand_twice() {
    let rules = VALUE.replace("{PLACE}", "{body}") + "event = { id = \"json:/id\" }\n";
    let scheme = scheme(&rules);
    let mut twice = delivery(&[]);
    twice.body = Bytes::from_static(b"{\"id\":1,\"id\":2}");
    sign(&scheme, SECRET.as_bytes(), &mut twice, NOW).unwrap();
    let verified = verdict(&scheme, SECRET, twice).unwrap();
    assert_eq!(scheme.event.read(verified.delivery(), None).id, "2");
}
