//! A chain, as its task says it, and what each step is given.

use gateway_worker::{Failure, HandlerTask};
use gateway_workflow::{MAX_STEPS, Placeholder};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

/// A chain that can be run.
pub(super) struct Chain {
    /// Where steps are submitted, with a slash at the end.
    pub(super) gateway: String,
    /// The caller's `Authorization`. A secret: it has no `Debug` here.
    pub(super) token: Option<String>,
    pub(super) steps: Vec<Step>,
}

/// One step.
pub(super) struct Step {
    /// The route of its service.
    pub(super) service: String,
    document: Option<String>,
    arguments: Map<String, Value>,
}

/// What a step is submitted with.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Given {
    /// The id of its document in the storage service.
    pub(super) stored: Option<String>,
    /// What the gateway looks at: documents, URLs, limits.
    pub(super) query: Vec<(String, String)>,
    /// Everything else.
    pub(super) body: Map<String, Value>,
}

impl Chain {
    /// Reads the chain in a task's argument, every place-holder replaced by its URL.
    pub(super) fn read(task: &HandlerTask) -> Result<Self, Failure> {
        let misc = task.argument.pointer("/service/misc").and_then(Value::as_object);
        let text = |key: &str| misc.and_then(|misc| misc.get(key)?.as_str()).filter(|text| !text.is_empty());
        let gateway = text("sg_url").ok_or_else(|| missing("the task says no sg_url: submit it to the gateway"))?;
        let gateway = format!("{}/", gateway.trim_end_matches('/'));
        let services = misc.and_then(|misc| misc.get("services")?.as_array());
        let services = services.ok_or_else(|| missing("the task has no list of steps (\"services\")"))?;
        if services.len() > MAX_STEPS {
            return Err(Failure::new("ValueError", format!("the chain has more than {MAX_STEPS} steps")));
        }
        let place = |text: &str| match Placeholder::read(text) {
            Some(Ok(placeholder)) => Some(temporary(&gateway, task.id, placeholder)),
            _ => None,
        };
        let steps = (1..).zip(services).map(|(number, step)| Step::read(number, step, &task.service, &place));
        let steps = steps.collect::<Result<_, _>>()?;
        let token = text("sg_token").map(str::to_owned);
        Ok(Self { gateway, token, steps })
    }
}

fn missing(why: &str) -> Failure {
    Failure::new("MissingParameterError", why)
}

/// The URL of a place-holder: the same for the same chain, whoever asks, and a name that nobody guesses who does not know
/// the chain's uuid.
fn temporary(gateway: &str, chain: Uuid, placeholder: Placeholder<'_>) -> String {
    let Placeholder { id, extension } = placeholder;
    let mut hash = Sha256::new();
    hash.update(chain.as_bytes());
    hash.update(id.as_bytes());
    hash.update(b".");
    hash.update(extension.unwrap_or_default().as_bytes());
    let mut name = [0; 16];
    name.copy_from_slice(&hash.finalize()[..16]);
    let name = Builder::from_custom_bytes(name).into_uuid();
    match extension {
        Some(extension) => format!("{gateway}temporary_file/{name}.{extension}"),
        None => format!("{gateway}temporary_file/{name}"),
    }
}

impl Step {
    fn read(
        number: usize,
        step: &Value,
        workflow: &str,
        place: &impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Failure> {
        let wrong = |what: &str| Failure::new("ValueError", format!("step {number}: {what}"));
        let mut arguments = step.as_object().ok_or_else(|| wrong("not an object"))?.clone();
        arguments.values_mut().for_each(|value| fill(value, place));
        let service = match arguments.shift_remove("service_name") {
            Some(Value::String(name)) if name == workflow => return Err(wrong("a chain cannot be a step of a chain")),
            Some(Value::String(name)) if !name.is_empty() => name,
            _ => return Err(wrong("no service_name")),
        };
        let document = match (arguments.shift_remove("url"), arguments.shift_remove("doc_url")) {
            (Some(Value::String(url)), _) | (None, Some(Value::String(url))) => Some(url),
            (None | Some(Value::Null), None | Some(Value::Null)) => None,
            _ => return Err(wrong("its url is not text")),
        };
        Ok(Self { service, document, arguments })
    }

    /// What it is submitted with: its own document, or else the first file of the result before it.
    pub(super) fn given(&self, before: &Value, gateway: &str) -> Given {
        let mut given = Given::default();
        let files = files(before);
        match (&self.document, files.first()) {
            (Some(url), _) => given.query.push(("doc_url".into(), url.clone())),
            (None, Some(File::Stored(id))) => given.stored = Some((*id).to_owned()),
            (None, Some(File::At(url))) => given.query.push(("doc_url".into(), (*url).to_owned())),
            (None, Some(File::Here(path))) => given.query.push(("doc_url".into(), format!("{gateway}{path}"))),
            (None, None) => {}
        }
        for (name, value) in &self.arguments {
            match value {
                Value::String(text) if is_judged(name) => given.query.push((name.clone(), text.clone())),
                _ => drop(given.body.insert(name.clone(), value.clone())),
            }
        }
        if files.len() > 1 && !self.arguments.contains_key("files") {
            given.body.insert("files".into(), before["files"].clone());
        }
        given
    }
}

/// Is it an argument that the gateway looks at?
fn is_judged(name: &str) -> bool {
    name.ends_with("_url") || name.starts_with("storage_") || matches!(name, "ann_doc_id" | "wait_limit" | "run_limit")
}

/// As deep as the value is, which the JSON parser has bounded (128).
fn fill(value: &mut Value, place: &impl Fn(&str) -> Option<String>) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| fill(item, place)),
        Value::Object(members) => members.values_mut().for_each(|member| fill(member, place)),
        Value::String(text) => {
            if let Some(url) = place(text) {
                *text = url;
            }
        }
        _ => {}
    }
}

/// A file that a result names.
enum File<'a> {
    Stored(&'a str),
    At(&'a str),
    /// A temporary file of the gateway's: its path, without the slash at the beginning.
    Here(&'a str),
}

/// The files of a result: what our own workers say of what they handed in (`files`: objects with `storage_doc_id`, or
/// `url`, or URLs), else the result's own `storage_doc_id` or `url`, else the result if it is a URL.
fn files(result: &Value) -> Vec<File<'_>> {
    if let Some(Value::Array(files)) = result.get("files") {
        return files.iter().filter_map(file).collect();
    }
    file(result).into_iter().collect()
}

fn file(value: &Value) -> Option<File<'_>> {
    let text = |key: &str| value.get(key)?.as_str().filter(|text| !text.is_empty());
    if let Some(id) = text("storage_doc_id") {
        return Some(File::Stored(id));
    }
    let url = text("url").or_else(|| text("doc_url")).or(value.as_str());
    if let Some(path) = url.and_then(|url| url.strip_prefix('/')).filter(|path| path.starts_with("temporary_file/")) {
        return Some(File::Here(path));
    }
    url.filter(|url| url.starts_with("http://") || url.starts_with("https://")).map(File::At)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn step(step: Value) -> Step {
        Step::read(1, &step, "simple_workflow", &|_| None).unwrap_or_else(|failure| panic!("{failure:?}"))
    }

    #[test]
    fn what_a_step_says_itself_counts_before_what_came_before() {
        let given =
            step(json!({"service_name": "a", "url": "http://h/1", "n": 1, "said": "x", "txt_url": "http://h/t"}))
                .given(&json!({"files": [{"name": "f", "storage_doc_id": "1"}]}), "http://g/");
        let query = vec![("doc_url".into(), "http://h/1".into()), ("txt_url".into(), "http://h/t".into())];
        let body = json!({"n": 1, "said": "x"}).as_object().cloned().unwrap();
        assert_eq!(given, Given { stored: None, query, body });
    }

    #[test]
    fn files_of_the_result_before_feed_the_next_step() {
        let next = step(json!({"service_name": "b"}));
        let url = |result: Value| next.given(&result, "http://g/").query.into_iter().map(|(_, url)| url).next();
        let two = json!({"files": [{"name": "f", "storage_doc_id": "1/2"}, {"name": "g", "storage_doc_id": "3"}]});
        let given = next.given(&two, "http://g/");
        assert_eq!(given.stored.as_deref(), Some("1/2"));
        assert_eq!(given.body["files"], two["files"]);
        assert_eq!(next.given(&json!({"storage_doc_id": "7"}), "http://g/").stored.as_deref(), Some("7"));
        for result in [json!({"files": ["http://h/x"]}), json!({"url": "http://h/x"}), json!("http://h/x")] {
            assert_eq!(url(result.clone()).as_deref(), Some("http://h/x"), "{result}");
        }
        let here = url(json!({"files": [{"name": "f", "url": "/temporary_file/x"}]}));
        assert_eq!(here.as_deref(), Some("http://g/temporary_file/x"));
        for result in
            [json!(null), json!([1]), json!({"files": []}), json!("text"), json!({"url": "file:///etc/passwd"})]
        {
            assert_eq!(next.given(&result, "http://g/"), Given::default(), "{result}");
        }
    }

    #[test]
    fn a_place_holder_is_one_url_of_one_chain() {
        let url = |chain: u128, text: &str| {
            let placeholder = Placeholder::read(text).and_then(Result::ok).unwrap();
            temporary("http://h/", Uuid::from_u128(chain), placeholder)
        };
        let one = url(1, "s__a.wav__e");
        assert!(one.starts_with("http://h/temporary_file/") && one.ends_with(".wav"), "{one}");
        assert_eq!(one, url(1, "s__a.wav__e"));
        for other in [url(2, "s__a.wav__e"), url(1, "s__b.wav__e"), url(1, "s__a.mp3__e"), url(1, "s__a__e")] {
            assert_ne!(one[..60], other[..60], "{other}");
        }
    }

    #[test]
    fn a_chain_is_no_step_of_a_chain() {
        for (bad, why) in [
            (json!({"service_name": "simple_workflow"}), "a step of a chain"),
            (json!({}), "no service_name"),
            (json!(1), "not an object"),
            (json!({"service_name": "a", "url": 7}), "not text"),
        ] {
            let failure = Step::read(3, &bad, "simple_workflow", &|_| None).err().unwrap();
            assert!(failure.message.starts_with("step 3: ") && failure.message.contains(why), "{failure:?}");
        }
    }
}
