// `minio server FOLDER`, for the rehearsal: s3rver with the credentials and the health check of MinIO.
const http = require("http");
const { Transform } = require("stream");
const S3rver = require("s3rver");
const { DUMMY_ACCOUNT } = require("s3rver/lib/models/account");

// s3rver stores an upload in signed chunks as it comes; Milvus sends all of its own so. Each chunk is
// `SIZE;chunk-signature=...`, a line break, SIZE bytes and a line break; SIZE is hexadecimal, and 0 at the end.
class ChunksRemoved extends Transform {
  received = [];

  _transform(data, _encoding, done) {
    this.received.push(data);
    done();
  }

  _flush(done) {
    const whole = Buffer.concat(this.received);
    for (let start = 0, size = 0; ; start += size + 2) {
      const end = whole.indexOf("\r\n", start);
      size = parseInt(whole.toString("latin1", start, end), 16);
      if (!size) break;
      start = end + 2;
      this.push(whole.subarray(start, start + size));
    }
    done();
  }
}

function content(upload) {
  const inChunks = upload.headers?.["x-amz-content-sha256"]?.startsWith("STREAMING-");
  return inChunks ? upload.pipe(new ChunksRemoved()) : upload;
}

const { MINIO_ROOT_USER, MINIO_ROOT_PASSWORD } = process.env;
DUMMY_ACCOUNT.revokeAccessKey("S3RVER");
DUMMY_ACCOUNT.createKeyPair(MINIO_ROOT_USER, MINIO_ROOT_PASSWORD);

const storage = new S3rver({ directory: process.argv[3], silent: true, vhostBuckets: false });
const { store } = storage;
const { putObject, putPart } = store;
store.putObject = (object) => {
  object.content = content(object.content);
  return putObject.call(store, object);
};
store.putPart = (bucket, upload, number, part) => putPart.call(store, bucket, upload, number, content(part));

const answer = storage.getMiddleware();
const server = http.createServer((request, response) => {
  if (request.url === "/minio/health/live") response.end();
  else answer(request, response);
});

process.on("SIGTERM", () => process.exit(0));
storage.configureBuckets().then(() => server.listen(9000));
