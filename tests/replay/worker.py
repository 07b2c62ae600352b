# coding: utf-8
"""The workers of the recordings, written against VestaService.request.Request. As recorded, but for this: results go by
rpc, `stub` is here too (the recordings have that of VestaService itself, see tests/backends/vesta.rs), states are told
as they were there."""
from __future__ import absolute_import, unicode_literals
import os, time
from celery import Celery, current_task
from celery.exceptions import Ignore, Reject
from VestaService.request import Request
from VestaService import service_exceptions as se

APP = Celery('worker', broker=os.environ['CELERY_BROKER_URL'], backend='rpc://')
APP.conf.update(accept_content=['json'], broker_connection_retry_on_startup=True)

def mk(args, **kw):
    r = Request(args, current_task, **kw)
    return r

@APP.task(name='worker.prog')
def prog(args):
    r = mk(args, download=False)
    r.process_version = '1.2.3'
    for p in args['service']['misc'].get('steps', [10, 50, 90]):
        r.set_progress(int(p))
        time.sleep(float(args['service']['misc'].get('sleep', 0.2)))
    return [{'@id': 'prog_annotation', '@version': '1.2.3', 'text': 'h\u00e9llo \u2713', 'n': 42}]

@APP.task(name='worker.progbad')
def progbad(args):
    # PROGRESS whose meta lacks worker_id_version
    current_task.update_state(state='PROGRESS', meta={'current': 5, 'total': 100})
    time.sleep(float(args['service']['misc'].get('sleep', 3)))
    return None

class MyCustomError(Exception):
    pass

@APP.task(name='worker.fail')
def fail(args):
    kind = args['service']['misc'].get('exc', 'ValueError')
    msg = args['service']['misc'].get('msg', 'boom "quoted" <b>&')
    if kind == 'Download':
        mk(args)          # downloads doc_url, raising DownloadError by itself
    if kind == 'unicode':
        raise ValueError('caf\u00e9 \u2713')
    if kind == 'noargs':
        raise RuntimeError()
    if kind == 'multi':
        raise KeyError('a', 2, [3])
    if kind == 'custom':
        raise MyCustomError(msg)
    if kind == 'newline':
        raise ValueError('line1\nline2')
    if hasattr(se, kind):
        raise getattr(se, kind)(msg)
    import importlib
    try: bi = importlib.import_module('builtins')
    except ImportError: bi = importlib.import_module('__builtin__')
    raise getattr(bi, kind)(msg)

@APP.task(name='worker.retry', bind=True, max_retries=None)
def retry(self, args):
    m = args['service']['misc']
    n = int(m.get('retries', 1))
    if self.request.retries < n:
        if m.get('rexc') == 'none':
            raise self.retry(countdown=float(m.get('countdown', 4)))
        try:
            raise ValueError('transient problem')
        except ValueError as exc:
            raise self.retry(exc=exc, countdown=float(m.get('countdown', 4)), max_retries=int(m.get('max', 3)))
    return {'attempt': self.request.retries}

@APP.task(name='worker.longrun')
def longrun(args):
    r = mk(args, download=False)
    r.process_version = '0.4.3'
    if args['service']['misc'].get('progress', '1') != '0':
        r.set_progress(1)
    time.sleep(float(args['service']['misc'].get('sleep', 30)))
    return 'long done'

@APP.task(name='worker.store')
def store(args):
    r = mk(args, download=False)
    r.process_version = '0.4.3'
    anns = [{'@id': 'a', '@version': '0.4.3', 'start': 1.5}]
    r.store_annotations(anns)
    return anns

@APP.task(name='worker.started', track_started=True)
def started(args):
    time.sleep(float(args['service']['misc'].get('sleep', 3)))
    return {'started': True}

@APP.task(name='worker.noparams')
def noparams(args):
    mk(args, download=False)
    return args

@APP.task(name='worker.multi')
def multi(args):
    return args

@APP.task(name='worker.ignore')
def ignore(args):
    current_task.update_state(state=args['service']['misc'].get('state', 'MYSTATE'), meta={'a': 1})
    raise Ignore()

@APP.task(name='worker.simple_workflow')
def simple_workflow(args):
    return args

@APP.task(name='worker.stub')
def stub(args):
    mk(args)
    time.sleep(0.1)
    return {'result': {'type': 'Useless', 'value': args}}
