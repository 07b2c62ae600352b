"""Replays what was recorded of the original gateway against ours, and compares field by field.

    replay.py --recorded http.jsonl --main URL --jwt URL --key BASE64 --short URL --down URL --documents HOST:PORT --queues PREFIX

Every exchange is sent again, in its order within its variant (variants run side by side): the recorded uuids become those
that our gateway gave, the recorded document server becomes ours, tokens that have expired are signed anew. A status is
asked for until the task is where it was when it was recorded. Compared are status, media type, `Location`, and the body:
JSON and XML by value, field by field; pages by the facts on them. A difference must be explained by a rule of
`intended.py`, or it is unexpected, and the exit status is 1.

What was asked of the original before an exchange and is not in the recording (most submissions of the statuses, uploads)
is made here by `before`.
"""

import argparse
import base64
import collections
import hashlib
import hmac
import html
import http.client
import json
import os
import re
import sys
import threading
import time
import urllib.parse
import xml.etree.ElementTree as tree

import intended

UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
RECORDED_DOCUMENTS = "127.0.0.1:8097"
RECORDED_ANNOTATIONS = "127.0.0.1:8098"
RECORDED_GATEWAY = re.compile(r"127\.0\.0\.1:50[0-9]{2}\b")
ENDS = ("SUCCESS", "FAILURE", "REVOKED", "EXPIRED")
PATIENCE = 90


class Answer:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def type(self):
        return (self.headers.get("content-type") or "").split(";")[0].strip()

    def json(self):
        try:
            return json.loads(self.body)
        except ValueError:
            return None


def send(base, method, path, headers, body):
    """One exchange with the gateway at `base`."""
    address = urllib.parse.urlsplit(base).netloc
    connection = http.client.HTTPConnection(address, timeout=PATIENCE)
    given = {"Accept": "*/*"}
    given.update(headers)
    data = body.encode() if isinstance(body, str) else body
    connection.putrequest(method, path, skip_host="Host" in given, skip_accept_encoding=True)
    for name, value in given.items():
        connection.putheader(name, value)
    if data is not None or method == "POST":
        connection.putheader("Content-Length", str(len(data or b"")))
    connection.endheaders(data)
    answer = connection.getresponse()
    text = answer.read().decode("utf-8", "replace")
    told = {name.lower(): value for name, value in answer.getheaders()}
    connection.close()
    return Answer(answer.status, told, text)


def signed(key, audience):
    """A token as the original's clients have them."""
    part = lambda data: base64.urlsafe_b64encode(data).rstrip(b"=")
    claims = {"aud": audience, "exp": int(time.time()) + 600}
    text = b".".join(part(json.dumps(it).encode()) for it in ({"typ": "JWT", "alg": "HS512"}, claims))
    return (text + b"." + part(hmac.new(base64.b64decode(key), text, hashlib.sha512).digest())).decode()


class Variant:
    """What belongs together: the exchanges of one recording session, in their order."""

    def __init__(self, options, exchanges):
        self.options = options
        self.exchanges = exchanges
        self.uuids = {}
        self.outcomes = []

    def base(self, name):
        if name.startswith("jwt."):
            return self.options.jwt
        if name.startswith("expired."):
            return self.options.short
        if name.startswith(("down.cold", "down.hang", "ghost.")) and not name.endswith(("status", "cancel")):
            return self.options.down
        return self.options.main

    def run(self):
        for exchange in self.exchanges:
            try:
                outcome = self.replay(exchange)
            except Exception as error:  # told as an outcome, with the exchange that it belongs to
                outcome = (exchange, None, {"exchange": ("done", f"{type(error).__name__}: {error}")})
            self.outcomes.append(outcome)

    def replay(self, exchange):
        name, asked = exchange["name"], exchange["request"]
        base = self.base(name)
        self.before(exchange, base)
        path = self.translated(asked["path"])
        headers = {k: self.translated(v) for k, v in asked["headers"].items() if k.lower() not in ("user-agent", "content-length")}
        for header in headers:
            if header.lower() == "authorization" and headers[header].count(".") == 2:
                headers[header] = signed(self.options.key, "vlbTest")
        body = asked["body"] and self.translated(asked["body"])
        if name == "state.mismatch.submit":
            # Three questions are asked while it runs, by a machine that may be busy.
            path = path.replace("sleep=1.2", "sleep=8")
        if "/status?" in path and asked["method"] == "GET":
            self.wait(intended.awaited(exchange), base, path)
        elif name == "wire.cancelrun.cancel":
            self.wait("PROGRESS", base, path.replace("/cancel?", "/status?"))
        answer = send(base, asked["method"], path, headers, body)
        recorded = exchange["response"]
        if asked["method"] == "POST" and answer.status == 200 and isinstance(answer.json(), dict):
            told = UUID.search(recorded["body"] or "")
            if told and "uuid" in answer.json():
                self.uuids[told.group(0)] = answer.json()["uuid"]
        return exchange, answer, self.differences(exchange, answer)

    def translated(self, text):
        for recorded, ours in self.uuids.items():
            text = text.replace(recorded, ours).replace(recorded.upper(), ours.upper())
        text = text.replace(RECORDED_DOCUMENTS, self.options.documents)
        return text.replace(urllib.parse.quote(RECORDED_DOCUMENTS, safe=""), urllib.parse.quote(self.options.documents, safe=""))

    def before(self, exchange, base):
        """Makes what the recording leaves out."""
        name, path = exchange["name"], exchange["request"]["path"]
        found = UUID.search(path)
        if name in ("tmp.download", "tmp.download.overwritten"):
            self.upload(base, "/temporary_file/first.txt", "hello" if name == "tmp.download" else "second contents")
        elif name == "tmp.download.unnamed":
            given = path.rsplit("/", 1)[1]
            self.uuids[given] = self.upload(base, "/temporary_file", "hello").rsplit("/", 1)[1]
        elif found and found.group(0) == found.group(0).lower() and found.group(0) not in self.uuids:
            if found.group(0).strip("0-"):
                self.uuids[found.group(0)] = self.submitted(exchange, base, found.group(0))

    def upload(self, base, path, content):
        body = f'--X\r\nContent-Disposition: form-data; name="file"; filename="f.txt"\r\n\r\n{content}\r\n--X--\r\n'
        answer = send(base, "POST", path, {"Content-Type": "multipart/form-data; boundary=X"}, body)
        assert answer.status == 201, answer.body
        return answer.body

    def submitted(self, exchange, base, uuid):
        """Submits the task that a recorded status is about."""
        name = exchange["name"]
        service = exchange["request"]["path"].split("/")[1]
        if name.startswith("status.wrong_service"):
            service = "stub"
        query = {"doc_url": f"http://{self.options.documents}/doc.txt"}
        where = ""
        parts = name.split(".")
        if service == "fail":
            kind = parts[2] if len(parts) > 2 and parts[2] not in ("xml", "html") else "ValueError"
            query["exc"] = kind
            if kind == "Download":
                query["doc_url"] = f"http://{self.options.documents}/missing.txt"
        elif service == "ignore":
            query["state"] = "CUSTOM_STATE"
        elif service == "longrun":
            query.update(progress="0", sleep="30")
        elif service in ("multi", "stub"):
            # The echo of a later status of the same task tells what was said.
            echoes = (it for it in self.exchanges if uuid in it["request"]["path"])
            bodies = (json.loads(it["response"]["body"]) for it in echoes if (it["response"]["body"] or "").startswith('{"result":{'))
            results = [body["result"] for body in bodies if body.get("result")]
            results = [result["result"]["value"] if service == "stub" else result for result in results]
            said = results[0]["service"] if results else {"misc": query, "document": {"url": None}}
            query = {k: self.translated(v) for k, v in said["misc"].items() if k != "upload_url" and isinstance(v, str)}
            stored = (said["document"]["url"] or "").partition("http://mss:5000/get/")[2]
            where = f"/{stored}" if stored else ""
        answer = send(base, "POST", f"/{service}/annotate{where}?{urllib.parse.urlencode(query)}", {}, None)
        assert answer.status == 200, f"submitting {service} {query}: {answer.status} {answer.body}"
        return answer.json()["uuid"]

    def wait(self, wanted, base, path):
        """Until the task is where it was when it was recorded, or has ended."""
        deadline = time.monotonic() + PATIENCE
        while wanted is not None and time.monotonic() < deadline:
            answer = send(base, "GET", path, {"Accept": "application/json"}, None)
            state = (answer.json() or {}).get("status")
            if wanted == answer.status or state == wanted or (state in ENDS and wanted != "EXPIRED"):
                return
            if isinstance(state, int) and answer.status not in (200, 204) and wanted not in ENDS:
                code = (answer.json() or {}).get("vesta", {}).get("code")
                if code != 204:
                    return
            time.sleep(0.05)

    # what is compared

    def plain(self, text):
        """A recorded text in our words: uuids, hosts and times that differ each time."""
        text = self.translated(text).replace(RECORDED_ANNOTATIONS, self.options.documents)
        return self.same(RECORDED_GATEWAY.sub("GATEWAY", text))

    def ours(self, text, base):
        return self.same(text.replace(urllib.parse.urlsplit(base).netloc, "GATEWAY").replace(self.options.queues, ""))

    @staticmethod
    def same(text):
        text = re.sub(r"temporary_file/[0-9a-f]{8}-[0-9a-f-]{27}[\w]*", "temporary_file/NAME", text)
        text = re.sub(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d", lambda it: it.group(0) if it.group(0).startswith("2015") else "TIME", text)
        return text

    def differences(self, exchange, answer):
        recorded = exchange["response"]
        base = self.base(exchange["name"])
        headers = {name.lower(): value for name, value in recorded["headers"] or []}
        found = {}

        def compare(what, was, now):
            if was != now:
                found[what] = (was, now)

        compare("status", recorded["status"], answer.status)
        was = Answer(recorded["status"], headers, recorded["body"] or "")
        if was.body or answer.body:
            compare("type", was.type, answer.type)
        location = lambda it, say: say(it.headers["location"]) if "location" in it.headers else None
        compare("location", location(was, self.plain), location(answer, lambda text: self.ours(text, base)))
        told, says = self.plain(was.body), self.ours(answer.body, base)
        kinds = (kind(was, told), kind(answer, says))
        if kinds == ("json", "json"):
            flat(json.loads(told), json.loads(says), "body", compare)
        elif kinds == ("xml", "xml"):
            elements(tree.fromstring(told.encode()), tree.fromstring(says.encode()), "body", compare)
        elif kinds == ("page", "page"):
            for number, fact in enumerate(facts(told)):
                if fact not in words(says):
                    compare(f"page.{number}", fact, "not on the page")
        elif "".join(kinds) == "texttext":
            compare("body", told, says)
        elif recorded["status"] not in (301, 302, 308):
            compare("form", kinds[0], kinds[1])
        return found


def kind(answer, body):
    if not body:
        return "nothing"
    if answer.type == "application/json":
        return "json"
    if body.startswith("<?xml"):
        return "xml"
    return "page" if body.lstrip().lower().startswith("<!doctype html") else "text"


def flat(was, now, path, compare):
    """Calls `compare` for each member that differs, or is on one side alone."""
    if isinstance(was, dict) and isinstance(now, dict):
        for key in sorted(set(was) | set(now)):
            flat(was.get(key, intended.ABSENT), now.get(key, intended.ABSENT), f"{path}.{key}", compare)
    elif isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        for index, (one, other) in enumerate(zip(was, now)):
            flat(one, other, f"{path}.{index}", compare)
    else:
        compare(path, was, now)


def elements(was, now, path, compare):
    """As `flat`, of XML; the order of keys was an accident of the original's."""
    compare(f"{path}.<tag>", (was.tag, sorted(was.attrib.items())), (now.tag, sorted(now.attrib.items())))
    compare(f"{path}.<text>", (was.text or "").strip(), (now.text or "").strip())
    if len(was) != len(now):
        compare(f"{path}.<count>", [it.tag for it in was], [it.tag for it in now])
        return
    key = lambda it: (it.tag, it.attrib.get("name", ""))
    for one, other in zip(sorted(was, key=key), sorted(now, key=key)):
        elements(one, other, f"{path}.{one.tag}", compare)


def words(page):
    return html.unescape(re.sub(r"<[^>]*>", " ", page))


def facts(page):
    """What a page of the original tells: the numbers of an error, the values of a table."""
    shown = [re.sub(r"\s+", " ", html.unescape(it)).strip() for it in re.findall(r"<div class=flash>([^<]*)</div>", page)]
    shown = [it.partition(" : ")[2] for it in shown]
    status = re.search(r"<h2>(\d{3}) :", page)
    code = re.search(r"Internal error code:</p>\s*(\d+) :", page)
    return [it.group(1) for it in (status, code) if it] + [it for it in shown if it]


def report(outcomes, show):
    """Prints the summary; says whether everything is as it should be."""
    reasons, equal, unexpected = collections.Counter(), 0, []
    for exchange, answer, differences in outcomes:
        if not differences:
            equal += 1
            continue
        left, used = intended.judge(exchange, answer, differences)
        if left:
            unexpected.append((exchange, answer, left))
        else:
            reasons.update(used)
            if show:
                print(f"intended {exchange['variant']} {exchange['name']}: {sorted(used)}: {str(differences)[:600]}")
    explained = len(outcomes) - equal - len(unexpected)
    for exchange, answer, left in unexpected:
        asked = exchange["request"]
        print(f"UNEXPECTED {exchange['variant']} {exchange['name']}: {asked['method']} {asked['path'][:120]} {asked['headers'].get('Accept')}")
        for what, (was, now) in left.items():
            print(f"    {what}: recorded {str(was)[:300]!r}, now {str(now)[:300]!r}")
    print(f"exchanges: {len(outcomes)}")
    print(f"equal: {equal}")
    print(f"with intended differences: {explained}, by reason (one exchange may have several):")
    for reason, count in reasons.most_common():
        print(f"    {count:4}  {reason}")
    print(f"unexpected: {len(unexpected)}")
    return not unexpected


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("recorded", "main", "jwt", "key", "short", "down", "documents", "queues"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--only", help="names that begin so")
    told = bool(os.environ.get("SG_REPLAY_SHOW"))
    parser.add_argument("--show", action="store_true", default=told, help="print intended differences, too (also SG_REPLAY_SHOW=1)")
    options = parser.parse_args()
    with open(options.recorded, encoding="utf-8") as lines:
        exchanges = [json.loads(line) for line in lines]
    variants = collections.OrderedDict()
    for exchange in exchanges:
        if not options.only or exchange["name"].startswith(options.only):
            # What was recorded at another time with the same set-up is a family of its own.
            family = exchange["name"].split(".")[0] if exchange["name"].startswith(("expired", "settled", "down")) else ""
            variants.setdefault((exchange["variant"], family), []).append(exchange)
    running = [Variant(options, of_one) for of_one in variants.values()]
    threads = [threading.Thread(target=variant.run) for variant in running]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outcomes = [outcome for variant in running for outcome in variant.outcomes]
    sys.exit(0 if report(outcomes, options.show) else 1)


if __name__ == "__main__":
    main()
