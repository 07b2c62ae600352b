use super::*;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[test]
fn what_is_read_is_what_is_written() {
    let context = TraceContext::read(PARENT, Some("a=1, b@c=x y ,,")).unwrap();
    assert_eq!(context.trace_id(), 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
    assert_eq!((context.span_id(), context.is_sampled()), (0xb7ad_6b71_6920_3331, true));
    assert_eq!((context.traceparent().as_str(), context.tracestate()), (PARENT, Some("a=1,b@c=x y")));
    assert_eq!(TraceContext::of_text(&context.to_string()), Some(context.clone()));
    let headers: Vec<_> = context.headers().collect();
    assert_eq!(headers, [("traceparent", PARENT.to_owned()), ("tracestate", "a=1,b@c=x y".to_owned())]);
    let unsampled = PARENT.replace("-01", "-00");
    assert!(!TraceContext::of_text(&unsampled).unwrap().is_sampled());
}

#[test]
fn a_stranger_s_traceparent_is_taken_to_the_letter() {
    for wrong in [
        "",
        "00",
        &PARENT[1..],
        &PARENT.to_uppercase(),
        &PARENT.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
        &PARENT.replace("b7ad6b7169203331", &"0".repeat(16)),
        &PARENT.replace("00-0", "ff-0"),
        &PARENT.replace("00-0", "00_0"),
        &PARENT.replace("0af", "\n0f"),
        &PARENT.replace("0af", "é0"),
        &format!("{PARENT}-extra"),
        &format!(" {PARENT}"),
        &format!("{PARENT}\r\n"),
    ] {
        assert_eq!(TraceContext::read(wrong, None), None, "{wrong:?}");
    }
    let later = PARENT.replace("00-0", "cc-0");
    assert!(TraceContext::read(&later, None).is_some() && TraceContext::read(&format!("{later}-what"), None).is_some());
    assert_eq!(TraceContext::read(&format!("{later}x"), None), None);
}

#[test]
fn a_tracestate_is_bounded_and_never_costs_the_trace() {
    let long = format!("a={}", "x".repeat(600));
    let many = (0..40).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
    for wrong in ["a", "A=1", "a=1,a=2", "a=b=c", "a=\u{1b}", "a=1\nb=2", "=1", "a=", &long, &many] {
        let context = TraceContext::read(PARENT, Some(wrong)).unwrap();
        assert_eq!(context.tracestate(), None, "{wrong:?}");
    }
}

#[test]
fn two_traceparents_are_none() {
    let mut headers = HeaderMap::new();
    headers.append(TRACEPARENT, PARENT.parse().unwrap());
    headers.append(TRACESTATE, "a=1".parse().unwrap());
    headers.append(TRACESTATE, "b=2".parse().unwrap());
    assert_eq!(TraceContext::of_headers(&headers).unwrap().tracestate(), Some("a=1,b=2"));
    headers.append(TRACEPARENT, PARENT.parse().unwrap());
    assert_eq!(TraceContext::of_headers(&headers), None);
}

#[test]
fn samplers_decide_as_they_are_named() {
    let caller = |flags| TraceContext::read(&format!("{}{flags}", &PARENT[..53]), None);
    let decided = |sampler: Sampler, caller| sampler.decide(caller).map(|context: TraceContext| context.is_sampled());
    let all = Sampler::share(1.0);
    assert_eq!(decided(all, caller("00")), Some(true));
    assert_eq!(decided(all.parent_based(), caller("00")), Some(false));
    assert_eq!(decided(all.parent_based(), None), Some(true));
    assert_eq!(decided(Sampler::share(0.0), caller("01")), Some(false));
    assert_eq!(decided(Sampler::share(0.0), None), Some(false));
    assert_eq!(decided(Sampler::bystander(), caller("01")), Some(true));
    assert_eq!(decided(Sampler::bystander(), None), None);
    let hundredth = (0..20_000).filter(|_| decided(Sampler::share(0.01), None) == Some(true)).count();
    assert!((100..350).contains(&hundredth), "{hundredth}");
}

#[test]
fn ids_differ_and_children_keep_the_trace() {
    let root = TraceContext::root(true);
    let mut seen = std::collections::HashSet::new();
    for _ in 0..1000 {
        let child = root.child();
        assert_eq!(child.trace_id(), root.trace_id());
        assert!(seen.insert(child.span_id()) && child.span_id() != root.span_id());
    }
    assert_ne!(TraceContext::root(true).trace_id(), root.trace_id());
}

#[test]
fn without_a_subscriber_a_span_is_its_parent_s_place() {
    let parent = TraceContext::root(true);
    let span = span!(Some(&parent), "nobody listens", "internal");
    assert_eq!((span.context(), span.is_open()), (Some(&parent), false));
    span.fail(&"nobody hears it");
    assert!(span!(None, "no trace", "internal").context().is_none());
}
