// `minio server FOLDER`, for the rehearsal: s3rver with the credentials and the health check of MinIO.
const http = require("http");
const S3rver = require("s3rver");
const { DUMMY_ACCOUNT } = require("s3rver/lib/models/account");

const { MINIO_ROOT_USER, MINIO_ROOT_PASSWORD } = process.env;
DUMMY_ACCOUNT.revokeAccessKey("S3RVER");
DUMMY_ACCOUNT.createKeyPair(MINIO_ROOT_USER, MINIO_ROOT_PASSWORD);

const storage = new S3rver({ directory: process.argv[3], silent: true, vhostBuckets: false });
const answer = storage.getMiddleware();
const server = http.createServer((request, response) => {
  if (request.url === "/minio/health/live") response.end();
  else answer(request, response);
});

process.on("SIGTERM", () => process.exit(0));
storage.configureBuckets().then(() => server.listen(9000));
