"""S3, as far as training data and results need it: path-style buckets and objects, lists, parts, deletes.

Signatures, checksums, chunked signing, versions, ACLs and encryption are not imitated; the access key's id is checked.
"""

from __future__ import annotations

import hashlib
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from email.utils import format_datetime
from urllib.parse import unquote
from xml.sax.saxutils import escape

from providers.rehearsal.bedrock_parts import authorize_aws, told
from providers.rehearsal.faults import Fault
from providers.rehearsal.http import Reply, Request
from providers.rehearsal.service import Exchange, RefusalError, Route
from providers.rehearsal.truth import Thing
from providers.rehearsal.world import BUCKET, REGION, World

OBJECT = "s3.object"
PAGE_MAX = 1000
_REFUSALS = {
    "throttled": (503, "SlowDown", "Please reduce your request rate (rehearsal)."),
    "unauthorized": (403, "ExpiredToken", "The provided token has expired (rehearsal)."),
    "forbidden": (403, "AccessDenied", "Access Denied (rehearsal)."),
    "quota": (400, "TooManyBuckets", "The quota is used up (rehearsal)."),
    "server-error": (500, "InternalError", "We encountered an internal error. Please try again (rehearsal)."),
}


class S3Service:
    name = "s3"
    request_id = "x-amz-request-id"

    def __init__(self, world: World) -> None:
        self._world = world
        self._buckets = {BUCKET}
        self._uploads: dict[str, dict[int, bytes]] = {}

    def routes(self) -> Sequence[Route]:
        bucket, key = "/{bucket}", "/{bucket}/{key+}"
        return [
            Route("PUT", key, "s3.upload_part", "change", self._put_part, ("uploadId", "partNumber")),
            Route("POST", key, "s3.create_multipart_upload", "change", self._begin_parts, ("uploads",)),
            Route("POST", key, "s3.complete_multipart_upload", "create", self._end_parts, ("uploadId",)),
            Route("DELETE", key, "s3.abort_multipart_upload", "delete", self._abort_parts, ("uploadId",)),
            Route("PUT", key, "s3.put_object", "create", self._put),
            Route("GET", key, "s3.get_object", "read", self._get),
            Route("HEAD", key, "s3.head_object", "read", self._get),
            Route("DELETE", key, "s3.delete_object", "delete", self._delete),
            Route("POST", bucket, "s3.delete_objects", "delete", self._delete_many, ("delete",)),
            Route("GET", bucket, "s3.get_bucket_location", "read", self._location, ("location",)),
            Route("GET", bucket, "s3.list_objects_v2", "list", self._list, ("list-type",)),
            Route("HEAD", bucket, "s3.head_bucket", "read", self._head_bucket),
            Route("PUT", bucket, "s3.create_bucket", "create", self._create_bucket),
        ]

    def authorize(self, request: Request) -> None:
        authorize_aws(request)

    def error(self, refusal: RefusalError) -> Reply:
        status = 501 if refusal.code == "not_imitated" else refusal.status
        body = f"<Error><Code>{escape(refusal.code)}</Code><Message>{escape(refusal.message)}</Message></Error>"
        return _xml(body, status)

    def refusal(self, fault: Fault) -> RefusalError:
        status, code, message = _REFUSALS[fault.kind]
        return RefusalError(fault.status if fault.kind == "server-error" else status, code, message)

    def _create_bucket(self, call: Exchange) -> Reply:
        self._buckets.add(call.params["bucket"])
        return Reply(headers={"location": f"/{call.params['bucket']}"})

    def _head_bucket(self, call: Exchange) -> Reply:
        self._bucket(call)
        return Reply(headers={"x-amz-bucket-region": REGION})

    def _location(self, call: Exchange) -> Reply:
        self._bucket(call)
        return _xml("<LocationConstraint/>")

    def _put(self, call: Exchange) -> Reply:
        return self._store(call, call.request.body)

    def _store(self, call: Exchange, content: bytes) -> Reply:
        path = f"{self._bucket(call)}/{call.params['key']}"
        if (old := self._world.truth.find(OBJECT, path, call.now)) is not None:
            old.end(call.now)
        call.touched = self._world.truth.add(
            Thing(
                kind=OBJECT,
                id=path,
                name=call.params["key"],
                account=call.params["bucket"],
                created_at=call.now,
                phases=[(call.now, "there")],
                body={"content": content},
            )
        )
        return Reply(headers={"etag": _etag(content)})

    def _get(self, call: Exchange) -> Reply:
        thing = self._world.truth.find(OBJECT, f"{self._bucket(call)}/{call.params['key']}", call.view)
        if thing is None:
            raise RefusalError(404, "NoSuchKey", "The specified key does not exist.")
        call.touched = thing
        content: bytes = thing.body["content"]
        headers = {
            "etag": _etag(content),
            "last-modified": format_datetime(self._world.clock.told(thing.created_at), usegmt=True),
            "accept-ranges": "bytes",
            "content-type": "binary/octet-stream",
        }
        wanted = call.request.headers.get("range", "")
        if not wanted.startswith("bytes="):
            headers["content-length"] = str(len(content))
            return Reply(headers=headers, body=content)
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        part = content[int(first) : int(last) + 1 if last else None]
        headers["content-range"] = f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}"
        return Reply(status=206, headers=headers, body=part)

    def _delete(self, call: Exchange) -> Reply:
        self._remove(call, call.params["key"])
        return Reply(status=204)

    def _delete_many(self, call: Exchange) -> Reply:
        keys = [node.text or "" for node in ET.fromstring(call.request.body).iter() if node.tag.endswith("Key")]  # noqa: S314 - loopback
        for key in keys:
            self._remove(call, key)
        found = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
        return _xml(f"<DeleteResult>{found}</DeleteResult>")

    def _remove(self, call: Exchange, key: str) -> None:
        if (thing := self._world.truth.find(OBJECT, f"{self._bucket(call)}/{key}", call.now)) is not None:
            call.delete(thing)

    def _list(self, call: Exchange) -> Reply:
        bucket, query = self._bucket(call), call.request
        prefix = query.first("prefix")
        after = unquote(query.first("continuation-token")) or query.first("start-after")
        limit = min(int(query.first("max-keys", str(PAGE_MAX))), PAGE_MAX)
        found = sorted(
            (
                t
                for t in self._world.truth.things(OBJECT, at=call.view)
                if t.account == bucket and t.id > f"{bucket}/{after}"
            ),
            key=lambda thing: thing.id,
        )
        keyed = [(thing.id.removeprefix(f"{bucket}/"), thing) for thing in found]
        keyed = [(key, thing) for key, thing in keyed if key.startswith(prefix)]
        shown, cut = call.cut([thing for _, thing in keyed[:limit]])
        more = len(keyed) > limit and not cut
        rows = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>{told(self._world, thing.created_at)}</LastModified>"
            f"<ETag>{escape(_etag(thing.body['content']))}</ETag><Size>{len(thing.body['content'])}</Size></Contents>"
            for key, thing in keyed[: len(shown)]
        )
        token = f"<NextContinuationToken>{escape(keyed[limit - 1][0])}</NextContinuationToken>" if more else ""
        head = f"<Name>{bucket}</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(shown)}</KeyCount>"
        return _xml(
            f"<ListBucketResult>{head}<MaxKeys>{limit}</MaxKeys><IsTruncated>{str(more).lower()}</IsTruncated>"
            f"{token}{rows}</ListBucketResult>"
        )

    def _begin_parts(self, call: Exchange) -> Reply:
        upload = self._world.id("upload-")
        self._uploads[upload] = {}
        key = escape(call.params["key"])
        names = f"<Bucket>{self._bucket(call)}</Bucket><Key>{key}</Key><UploadId>{upload}</UploadId>"
        return _xml(f"<InitiateMultipartUploadResult>{names}</InitiateMultipartUploadResult>")

    def _put_part(self, call: Exchange) -> Reply:
        content = call.request.body
        self._parts(call)[int(call.request.first("partNumber"))] = content
        return Reply(headers={"etag": _etag(content)})

    def _end_parts(self, call: Exchange) -> Reply:
        parts = self._parts(call)
        content = b"".join(parts[number] for number in sorted(parts))
        stored = self._store(call, content)
        del self._uploads[call.request.first("uploadId")]
        names = f"<Key>{escape(call.params['key'])}</Key><ETag>{escape(stored.headers['etag'])}</ETag>"
        return _xml(f"<CompleteMultipartUploadResult>{names}</CompleteMultipartUploadResult>")

    def _abort_parts(self, call: Exchange) -> Reply:
        self._uploads.pop(call.request.first("uploadId"), None)
        return Reply(status=204)

    def _parts(self, call: Exchange) -> dict[int, bytes]:
        upload = call.request.first("uploadId")
        if upload not in self._uploads:
            raise RefusalError(404, "NoSuchUpload", "The specified upload does not exist.")
        return self._uploads[upload]

    def _bucket(self, call: Exchange) -> str:
        if call.params["bucket"] not in self._buckets:
            raise RefusalError(404, "NoSuchBucket", "The specified bucket does not exist.")
        return call.params["bucket"]


def _etag(content: bytes) -> str:
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'


def _xml(body: str, status: int = 200) -> Reply:
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n{body}'
    return Reply(status=status, headers={"content-type": "application/xml"}, body=text.encode())
