//! What a proxy says about the client: believed from trusted proxies alone.

use crate::{OPEN, shell, support::*};

fn gateway(server: &str) -> Gateway {
    let page = "[services.stub.pages]\nsupport = \"file:@DIR@/gateway.toml\"\n";
    Gateway::start(&[&format!("[server]\n{server}\n"), OPEN, &shell("stub", "echo 1", ""), page].concat())
}

fn with(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> Answer {
    let request = request("GET", &format!("{}{path}", gateway.url()));
    headers.iter().fold(request, |request, (name, value)| request.header(name, value)).send()
}

/// How the gateway thinks that this client reaches it, told by the URLs that it prints: `PREFIX` in a redirect and
/// `SCHEME://HOST/PREFIX` in the list of services.
fn base(gateway: &Gateway, headers: &[(&str, &str)]) -> String {
    let info = with(gateway, "/info", headers);
    assert_eq!(info.status, 200, "{}", info.text());
    let url = info.json()["services"]["stub"]["support"].as_str().unwrap().to_owned();
    let base = url.strip_suffix("/stub/support").unwrap_or_else(|| panic!("{url}"));
    let redirect = with(gateway, "/stub", headers);
    assert_eq!(redirect.status, 308, "{}", redirect.text());
    let location = redirect.header("location").unwrap();
    let absolute = format!("{base}/stub/");
    assert!(location.starts_with('/') && absolute.ends_with(location) || location == absolute, "{location} {absolute}");
    let host = base.split('/').nth(2).unwrap();
    assert_eq!(location.split_once(host).map_or(location, |(_, path)| path), absolute.split_once(host).unwrap().1);
    base.to_owned()
}

#[test]
fn a_trusted_proxy_is_believed() {
    let gateway = gateway("");
    let at = gateway.url();
    for (headers, expected) in [
        (&[][..], at.clone()),
        (&[("X-Script-Name", "/mount")], format!("{at}/mount")),
        (&[("X-Forwarded-Prefix", "/mount/")], format!("{at}/mount")),
        (&[("X-Forwarded-Proto", "https")], at.replace("http:", "https:")),
        (&[("X-Scheme", "https")], at.replace("http:", "https:")),
        (&[("X-Forwarded-Host", "example.org")], "http://example.org".into()),
        (&[("Host", "example.org:8080")], "http://example.org:8080".into()),
        (
            &[("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "example.org"), ("X-Script-Name", "/lab/gateway")],
            "https://example.org/lab/gateway".into(),
        ),
        (&[("Forwarded", "for=192.0.2.1;proto=https;host=example.org")], "https://example.org".into()),
        (&[("X-Forwarded-Host", "evil\"<script>")], at.clone()),
        (&[("X-Forwarded-Proto", "javascript")], at.clone()),
        (&[("X-Script-Name", "//evil.example")], at.clone()),
    ] {
        assert_eq!(base(&gateway, headers), expected, "{headers:?}");
    }
    // A prefix that is still there is removed, and not doubled in what is printed.
    let mount = [("X-Script-Name", "/mount")];
    let redirect = with(&gateway, "/mount/stub", &mount);
    assert!(redirect.header("location").unwrap().ends_with("/mount/stub/"), "{:?}", redirect.headers);
    assert!(!redirect.header("location").unwrap().contains("/mount/mount"), "{:?}", redirect.headers);
    let mounted = request("POST", &format!("{at}/mount/stub/annotate")).header("X-Script-Name", "/mount").send();
    assert_eq!(mounted.status, 200, "{}", mounted.text());
    request("POST", &format!("{at}/mount/stub/annotate")).send().refused(404, 100);
}

#[test]
fn anybody_else_is_not() {
    let gateway = gateway("trusted_proxies = []");
    let at = gateway.url();
    let all = [
        ("X-Script-Name", "/mount"),
        ("X-Forwarded-Prefix", "/mount"),
        ("X-Forwarded-Proto", "https"),
        ("X-Scheme", "https"),
        ("X-Forwarded-Host", "example.org"),
        ("X-Forwarded-For", "192.0.2.1"),
        ("Forwarded", "for=192.0.2.1;proto=https;host=example.org"),
    ];
    for header in all {
        assert_eq!(base(&gateway, &[header]), at, "{header:?}");
    }
    assert_eq!(base(&gateway, &all), at);
    request("POST", &format!("{at}/mount/stub/annotate")).header("X-Script-Name", "/mount").send().refused(404, 100);
}

#[test]
fn the_client_in_the_log_is_the_one_that_the_proxy_saw() {
    let ask = |gateway: &Gateway| {
        let url = format!("{}/nowhere/to/go", gateway.url());
        request("GET", &url).header("X-Forwarded-For", "198.51.100.9, 192.0.2.77").send().refused(404, 100);
        gateway.log().lines().find(|line| line.contains("/nowhere/to/go")).map(str::to_owned).unwrap()
    };
    let line = ask(&gateway(""));
    assert!(line.contains("192.0.2.77") && !line.contains("198.51.100.9"), "{line}");
    let line = ask(&gateway("trusted_proxies = [\"10.0.0.0/8\"]"));
    assert!(line.contains("127.0.0.1") && !line.contains("192.0.2.77"), "{line}");
}

#[test]
fn the_public_url_counts_before_all_of_it() {
    let gateway = gateway("public_url = \"https://lab.example.org/gateway\"");
    let headers = [("X-Forwarded-Host", "example.org"), ("X-Forwarded-Proto", "http")];
    for headers in [&[][..], &headers] {
        assert_eq!(base(&gateway, headers), "https://lab.example.org/gateway");
    }
}

#[test]
fn request_ids_are_kept_from_trusted_proxies() {
    let ask = |gateway: &Gateway, id: &str| {
        let answer = request("GET", &format!("{}/livez", gateway.url())).header("X-Request-Id", id).send();
        answer.header("x-request-id").unwrap().to_owned()
    };
    let trusting = gateway("");
    assert_eq!(ask(&trusting, "from-the-proxy-1"), "from-the-proxy-1");
    assert_ne!(ask(&trusting, &"x".repeat(1000)), "x".repeat(1000));
    assert_ne!(ask(&gateway("trusted_proxies = []"), "from-anybody"), "from-anybody");
}
