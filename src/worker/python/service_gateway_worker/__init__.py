"""Makes a Python function a worker of Service Gateway, on Celery.

>>> from service_gateway_worker import Request, make_app, service
>>> app = make_app("worker")
>>> @service(app, "words", version="1.0")
... def words(request: Request) -> dict:
...     return {"words": len(request.document().read_text().split())}
>>> words.name
'worker.words'
"""

from .app import make_app, service
from .outside import Policy
from .request import Request

__all__ = ["Policy", "Request", "make_app", "service"]
__version__ = "0.1.0"
