"""The differences from the original that are intended, each with its reason and its place in the contract of the HTTP
interface ("Mended: ..." stands there).

A rule explains single differences: `rule(exchange, answer, what, was, now)` is true if it does. `what` is `status`, `type`,
`location`, `form` (what kind of body), `body...` (a field of it), `page...` (a fact on a page).
"""

import json
import re

ABSENT = "<absent>"
ERROR = re.compile(r"body\.(description|vesta\.message)$")


def recorded_json(exchange):
    try:
        return json.loads(exchange["response"]["body"])
    except (TypeError, ValueError):
        return {}


def awaited(exchange):
    """What a status is waited for: a state, an HTTP status, or None for whatever it is now."""
    name, response = exchange["name"], exchange["response"]
    body = recorded_json(exchange)
    state = body.get("status") if isinstance(body, dict) else None
    if isinstance(state, str):
        # Read before the result was, or before a word of it had come: see RACE.
        if state == "PENDING":
            return "PROGRESS" if body.get("result") and "current" in body["result"] else None
        return state
    if "VERSION_MISMATCH" in name and response["status"] == 400:
        return 400
    if "EXPIRED" in name or name.startswith("expired.cached.after"):
        return "EXPIRED"
    if name.startswith("state.RETRY"):
        return "RETRY"
    if "progbad" in name or name == "state.progress.500":
        return "PROGRESS"
    if name.startswith("settled.cancel.after"):
        return "REVOKED"
    if name.startswith(("state.FAILURE", "settled.FAILURE")):
        return "FAILURE"
    if response["body"] and "<status>" in response["body"]:
        return re.search(r"<status>(\w+)</status>", response["body"]).group(1)
    return None


def code(answer):
    body = answer.json()
    return body.get("vesta", {}).get("code") if isinstance(body, dict) else None


def outcome(answer):
    body = answer.json()
    return body.get("status") if isinstance(body, dict) else None


# rules


def error_text(exchange, answer, what, was, now):
    return bool(ERROR.match(what)) and ABSENT not in (was, now) and isinstance(now, str) and now != "" and "Traceback" not in now


def request_id(exchange, answer, what, was, now):
    return what == "body.request_id" and was == ABSENT


def error_xml(exchange, answer, what, was, now):
    wanted = "xml" in exchange["request"]["headers"].get("Accept", "") and answer.status >= 400
    return wanted and ((what == "type" and now == "application/xml") or (what == "form" and now == "xml"))


def xml_type(exchange, answer, what, was, now):
    return what == "type" and was == "text/html" and now == "application/xml" and answer.status == 200


def xml_plain(exchange, answer, what, was, now):
    """The original's XML named keys that are no XML names otherwise."""
    return "<tag>" in what and now[0] == "key"


def letters(text):
    return re.sub(r"\W+", "", text)


def said(recorded):
    """What an exception says, out of `ClassName(u'text',) [file.py:1 in name]`."""
    inner = re.sub(r" \[\S+:\d+ in \w+\]$", "", recorded)
    inner = re.sub(r"^\w+\((.*?),?\)$", r"\1", inner, flags=re.DOTALL)
    inner = re.sub(r"\bu(?=\\*['\"])", "", inner)
    if "\\" in inner:
        inner = inner.encode("latin-1", "backslashreplace").decode("unicode_escape")
    return letters(inner)


def failure_message(exchange, answer, what, was, now):
    if what == "body.result.<text>" or not re.match(r"body\.result\.message", what):
        return False
    plain = isinstance(now, str) and ".py:" not in now and "u'" not in now and outcome(answer) in ("FAILURE", "RETRY", "REVOKED")
    return plain and said(was) == letters(now)


def two_reads(exchange, answer, what, was, now):
    """500 or a half-read state, where ours is the state with its result."""
    response = exchange["response"]
    told = response["body"] or ""
    lost = response["status"] == 500 and ("is not JSON serializable" in told or "list indices must be integers" in told)
    page = response["status"] == 500 and exchange["request"]["headers"].get("Accept") in ("text/html", "application/xml")
    return answer.status == 200 and (lost or page) and what.split(".")[0] in ("status", "body", "type", "form")


def half_read(exchange, answer, what, was, now):
    body = recorded_json(exchange)
    if not isinstance(body, dict) or body.get("status") not in ("PENDING", "PROGRESS") or not body.get("result"):
        return False
    return what.startswith(("body.status", "body.result"))


def timing(exchange, answer, what, was, now):
    """The recorded state had passed when we asked: ours must be a state that may follow it."""
    body = recorded_json(exchange)
    passing = isinstance(body, dict) and body.get("status") in ("PENDING", "STARTED", "PROGRESS", "STORING", "RETRY", "RECEIVED")
    passing = passing or "<status>PENDING</status>" in (exchange["response"]["body"] or "")
    return passing and answer.status == 200 and what.startswith(("body.status", "body.result", "body.<count>"))


def progress_number(exchange, answer, what, was, now):
    return what == "body.result.current" and isinstance(now, int) and outcome(answer) == "PROGRESS"


def cancelled(exchange, answer, what, was, now):
    """Recorded first, answered at once."""
    if not ("cancel" in exchange["name"]):
        return False
    return answer.status == 200 and outcome(answer) == "REVOKED" and answer.json()["result"]["code"] == 109 and what.split(".")[0] in ("status", "body", "type", "form")


def unauthorised(exchange, answer, what, was, now):
    return what in ("status", "body.status") and now == 401 and code(answer) == 101 and "www-authenticate" in answer.headers and was in (400, 500)


def bad_json(exchange, answer, what, was, now):
    asked = exchange["name"].startswith(("process.bad_json", "process.json_list", "process.json_", "workflow.json_list"))
    return asked and answer.status == 400 and code(answer) == 105 and what.split(".")[0] in ("status", "body")


def never_submitted(exchange, answer, what, was, now):
    """The status of a task that the original made out of malformed JSON, and we did not."""
    return "badjson" in exchange["name"] and answer.status == 400 and code(answer) == 203


def workflow_without_json(exchange, answer, what, was, now):
    asked = exchange["name"].startswith(("workflow.no_json", "workflow.json_", "workflow.dir_missing"))
    return asked and answer.status in (200, 400) and (answer.status == 200 or code(answer) in (105, 206) or answer.type == "text/html")


def unknown_service(exchange, answer, what, was, now):
    return exchange["response"]["status"] == 500 and answer.status == 400 and what in ("status", "body.status", "body.vesta.code", "page.0", "page.1") and (code(answer) == 202 or answer.type == "text/html") and "keyname" in exchange["request"]["path"]


def by_its_route(exchange, answer, what, was, now):
    """A service whose route is not its table's name: the original found it by neither."""
    return exchange["request"]["path"].startswith("/otherroute/") and answer.status == 200


def unicode_text(exchange, answer, what, was, now):
    return exchange["response"]["status"] == 500 and ("%C3%A9" in exchange["request"]["path"]) and answer.status in (200, 400) and what.split(".")[0] in ("status", "body", "form", "type")


def page_not_configured(exchange, answer, what, was, now):
    return exchange["name"].startswith("canarie.") and exchange["response"]["status"] == 500 and answer.status == 404 and what.split(".")[0] in ("status", "page", "body")


def platform_pages(exchange, answer, what, was, now):
    root = exchange["request"]["path"] in ("/", "/doc", "/stats")
    return root and exchange["response"]["status"] == 400 and answer.status in (200, 302, 404)


def home_page(exchange, answer, what, was, now):
    at = exchange["request"]["path"] in ("/stub/", "/stub")
    return at and exchange["response"]["status"] == 404 and answer.status in (302, 308)


def more_error_pages(exchange, answer, what, was, now):
    asked = exchange["request"]["path"]
    return asked in ("/401", "/502") and str(answer.status) == asked[1:] and what in ("status", "body.status")


def no_secrets(exchange, answer, what, was, now):
    return exchange["request"]["path"] in ("/info", "/service/info") and re.search(r"\.(os_args|rubber_params|noparams)(\.|$)", what) and now == ABSENT


def pages_of_info(exchange, answer, what, was, now):
    """`/info` tells a page only if there is one; the recorded configuration names some that there are not."""
    return exchange["request"]["path"] == "/info" and re.search(r"\.(releasenotes|tryme|licence|provenance|factsheet)$", what) and was in ("service/home.html", "tryme.html", "no valid value here", "a,b,c", ABSENT)


def tags_trimmed(exchange, answer, what, was, now):
    if re.search(r"body(\.services\.\w+)?\.tags(\.\d+)?$", what):
        trimmed = [it.strip() for it in was.split(",")] if isinstance(was, str) and isinstance(now, list) else was.strip()
        return trimmed == now
    return what.startswith("page.") and str(was).startswith("['stub'")


def gateway_version(exchange, answer, what, was, now):
    if what == "body.version" and exchange["request"]["path"] == "/info":
        return bool(re.match(r"\d+\.\d+", str(now)))
    service = re.match(r"1\.9\.3(_.*)$", str(was))
    return bool(service) and (what.startswith("page.") or str(now).endswith(service.group(1)))


def workers_now(exchange, answer, what, was, now):
    """How many workers the rig has, and how often it was asked, is another matter."""
    return what in ("body.activeWorkers", "body.invocations") and isinstance(now, int) or (what.startswith("page.") and str(was).isdigit() and exchange["request"]["path"].endswith(("info", "stats")))


def version_shown(exchange, answer, what, was, now):
    return "progbad" in exchange["name"] and exchange["response"]["status"] == 500 and answer.status == 200


def upload_path_text(exchange, answer, what, was, now):
    return what == "type" and answer.status == 201 and was == "text/html" and now == "text/plain"


def upload_extension(exchange, answer, what, was, now):
    return "extension=a%2Fb" in exchange["request"]["path"] and answer.status == 400 and code(answer) == 105


def forwarded_scheme(exchange, answer, what, was, now):
    asked = exchange["request"]["headers"]
    return asked.get("X-Scheme") == "https" and what == "body" and now == was.replace("http://", "https://", 1)


def static_files(exchange, answer, what, was, now):
    return exchange["request"]["path"] == "/static/style.css" and answer.status == 404


def noparams(exchange, answer, what, was, now):
    return exchange["name"].startswith("noparams.") and ((answer.status == 200) or (exchange["name"].endswith("doc_url") and code(answer) == 207))


def broker_away(exchange, answer, what, was, now):
    if not exchange["name"].startswith(("down.", "ghost", "idle.", "expires_mismatch")):
        return False
    return answer.status in (200, 503)


def expired(exchange, answer, what, was, now):
    return exchange["name"].startswith("expired.") and answer.status == 200 and outcome(answer) in ("PENDING", "PROGRESS", "SUCCESS", "EXPIRED")


def both_places(exchange, answer, what, was, now):
    """`storage_txt_id` beside `txt_url`: the URL wins; the original failed."""
    return exchange["name"] == "annotate.storage_txt_id+txt_url" and answer.status == 200


def redirect_page(exchange, answer, what, was, now):
    """A redirect's body is for nobody."""
    return exchange["response"]["status"] in (302, 308) and answer.status == exchange["response"]["status"] and what in ("type", "form") and now in ("", "nothing", "text/html", "text/plain", "text")


def words_of_celery(exchange, answer, what, was, now):
    return what == "body.result.message" and "WorkerLostError(u'Worker exited prematurely" in was and now.startswith("Worker exited prematurely")


def not_registered(exchange, answer, what, was, now):
    return what == "body.result.message" and "doesnotexist" in str(now)


RULES = [
    ("error texts say what to do, no Python repr", "Errors: Mended: plain text, not Python repr; the message says what to do", error_text),
    ("errors carry a request id", "Errors: `request_id` added", request_id),
    ("errors in XML where XML is preferred", "Formats: errors elsewhere are JSON unless HTML (or, mended, XML) is preferred", error_xml),
    ("XML is called XML", "Formats: mended: content type `application/xml`, keys in order", xml_type),
    ("keys that are no XML names", "Formats: a key that is no XML name as `<key name=\"@id\">`", xml_plain),
    ("a failure's message is its own text", "Status: Mended: no Python repr, no source file names unless `debug`", failure_message),
    ("a failure is 200 in every format, never a 500", "Formats: Worker outcomes are `200` in every format; Status: state and result are always read together", two_reads),
    ("a cancel is recorded first and answered REVOKED", "Status: Cancel: mended: recorded first; answers REVOKED (109) at once", cancelled),
    ("state and result are read together", "Status: state and result are always read together", half_read),
    ("the task had gone on when it was asked about", "(no difference of the gateways: states pass)", timing),
    ("progress had gone on when it was asked about", "(no difference of the gateways: states pass)", progress_number),
    ("401 for a token that is missing or bad", "Errors: 101: 400 / 500 -> 401 with `WWW-Authenticate`", unauthorised),
    ("malformed JSON is refused", "Submission: Mended: malformed JSON, a list or a string: 400, code 105", bad_json),
    ("malformed JSON made no task", "Submission: Mended: malformed JSON, a list or a string: 400, code 105", never_submitted),
    ("a workflow without JSON is 400", "What the original got wrong: a workflow without `json` as 500 (ours: 400, code 206)", workflow_without_json),
    ("an unknown service is 400, code 202", "Errors: 202: 400 (also where the original gave 500)", unknown_service),
    ("a service is found by its route", "Routes: S = a service's route", by_its_route),
    ("non-ASCII text is no 500", "Submission: Mended: non-ASCII is encoded, not a 500", unicode_text),
    ("a page that is not configured is 404", "Routes: Mended: a page that is not configured is 404, not 500", page_not_configured),
    ("pages at the root are the platform's", "Routes: Mended: otherwise the platform's (the original: 400/202)", platform_pages),
    ("a service has its home page", "Routes: `/S/` (home); `/S`: 308 to `/S/`", home_page),
    ("more error pages", "Routes: Mended: also 401 403 408 413 429 502 504", more_error_pages),
    ("/info tells nothing else of the configuration", "Routes: `/info`: Mended: nothing else of the configuration", no_secrets),
    ("/info tells the pages that there are", "Routes: `/info`: pages", pages_of_info),
    ("tags are trimmed", "Routes: `/S/info`: Mended: tags trimmed", tags_trimmed),
    ("it is another version of the gateway", "Routes: `version` = `<gateway>_<service>`", gateway_version),
    ("the rig has other workers and another history", "Routes: workers counted exactly; accepted submissions since the store was made", workers_now),
    ("a PROGRESS without a version is shown", "Status: Mended: a PROGRESS without a version is shown, not a 500", version_shown),
    ("the bare URL is text", "Routes: `/temporary_upload_path`: 201, the bare URL as text", upload_path_text),
    ("an extension is letters and digits", "What the original got wrong: any `extension` taken as it is", upload_extension),
    ("X-Scheme is honoured", "Proxies: `X-Scheme`; every URL that we print respects them", forwarded_scheme),
    ("pages carry their style themselves", "Routes: `static` is reserved, and no route of ours", static_files),
    ("a service that needs no document serves annotate too, and checks a doc_url", "Submission: Mended: `requires_document = false` serves annotate too, and a doc_url that is given is used and checked", noparams),
    ("a broker that is away delays, and fails nothing", "Errors: 205: 400 after 5 s -> 503; What the original got wrong: `/info` for ever without a broker, x-expires 500", broker_away),
    ("a result that was there is told, then EXPIRED", "Status: result no longer kept: EXPIRED; What the original got wrong: PENDING for ever", expired),
    ("a URL wins over a stored id", "Submission: `storage_txt_id` beside `txt_url`: the URL wins", both_places),
    ("the body of a redirect", "(Routes: redirect; nobody reads its body)", redirect_page),
    ("the workers' Celery is another version, and says it otherwise", "(no difference of the gateways)", words_of_celery),
    ("an unregistered task is named", "Status: NotRegistered: a sentence that names the task", not_registered),
]


def judge(exchange, answer, differences):
    """The differences that no rule explains, and the reasons for the others."""
    left, used = {}, set()
    for what, (was, now) in differences.items():
        reason = None
        if answer is not None:
            reason = next((why for why, _, rule in RULES if rule(exchange, answer, what, was, now)), None)
        if reason is None:
            left[what] = (was, now)
        else:
            used.add(reason)
    return left, used
