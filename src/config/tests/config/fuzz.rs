use gateway_config::{Size, keys, parse, parse_duration};
use proptest::{collection::vec, prelude::*, sample::select};
use std::path::Path;

/// A value of any kind, likely or not.
fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        select(vec![
            "\"\"",
            "true",
            "0",
            "-1",
            "1.5",
            "nan",
            "inf",
            "2026-01-01",
            "\"10s\"",
            "\"2 MiB\"",
            "\"none\"",
            "\"HS512\"",
            "\"amqp://u:p@h/v\"",
            "\"sqlite::memory:\"",
            "\"env:HOME\"",
            "\"file:/\"",
            "\".\"",
            "\"é,204\"",
            "\"http://h/{storage_doc_id}\"",
            "9223372036854775807",
            "\"((\"",
            "\"\\u0000\"",
        ])
        .prop_map(str::to_owned),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|list| format!("[{}]", list.join(", "))),
            vec(("[a-z_-]{1,8}", inner), 0..3).prop_map(|entries| {
                let entries: Vec<String> = entries.into_iter().map(|(key, value)| format!("{key} = {value}")).collect();
                format!("{{ {} }}", entries.join(", "))
            }),
        ]
    })
}

/// A key that exists, one of its tables, or none of both.
fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => select(keys()).prop_map(|key| key.replace('*', "stub")),
        1 => select(keys()).prop_map(|key| key.rsplit_once('.').map_or(key.clone(), |(table, _)| table.replace('*', "a"))),
        1 => "[a-z_]{1,6}(\\.[a-z_-]{1,6}){0,3}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_tree(lines in vec((key(), value()), 0..12), variables in vec((key(), any::<String>()), 0..4)) {
        // Keys that TOML refuses twice are left out, so that most trees get past the parser.
        let mut text = String::new();
        for (key, value) in &lines {
            let longer = format!("{text}{key} = {value}\n");
            let syntax = parse(Some((Path::new("g.toml"), &longer)), [], &[]);
            if !syntax.is_err_and(|faults| faults.to_string().contains("g.toml: line ")) {
                text = longer;
            }
        }
        let variables = variables.iter().map(|(key, value)| {
            (format!("GATEWAY_{}", key.replace('.', "__").to_uppercase()), value.clone())
        });
        match parse(Some((Path::new("g.toml"), &text)), variables, &[]) {
            Ok(loaded) => prop_assert_eq!(loaded.config.clone().completed(), loaded.config),
            Err(faults) => prop_assert!(!faults.is_empty()),
        }
    }

    #[test]
    fn any_text(text in any::<String>()) {
        let told = parse(Some((Path::new("g.toml"), &text)), [], &[]);
        prop_assert!(told.is_err_and(|faults| !faults.is_empty()), "no key is set");
        let _ = (parse_duration(&text), Size::parse(&text));
    }

    #[test]
    fn any_number_with_unit(number in "[0-9]{1,30}", unit in select(vec!["ms", "s", "d", "B", " TiB", ""])) {
        let text = format!("{number}{unit}");
        if let Ok(duration) = parse_duration(&text) {
            prop_assert!(duration <= gateway_config::LONGEST);
        }
        if let Ok(size) = Size::parse(&text) {
            prop_assert_eq!(Size::parse(&size.to_string()), Ok(size));
        }
    }
}
