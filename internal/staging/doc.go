// Package staging keeps what one stage hands to the next: Parquet objects under keys such as
// `runs/<run>/<stage>/<attempt>-<fence>/part-00000.parquet`.
//
// A [Store] is named by one URL. Every object is described by a StagedObject with its size and SHA-256, and is checked
// against both when it is fetched, so that a byte that changed at rest fails a task and never reaches a target. Objects
// are immutable: a key is written once, and a retry writes the same key again or a new one.
//
// URLs:
//
//	file:///var/lib/lume/staging     a folder; objects are plain files, linked in and out instead of copied
//	s3://bucket/prefix?region=…      S3 and what speaks its protocol; see below
//	azblob://container/prefix?…      Azure Blob Storage; see below
//	mem://                           this process's memory, for tests
//
// Services that share a folder run as one user: its files and folders are that user's alone. A bucket should have a
// lifecycle rule that ends incomplete multipart uploads, which a process that dies leaves behind.
//
// Parameters of s3: `region`, `endpoint` (URL of a server that is not AWS), `use_path_style=true` (most such servers
// need it), `profile` and `credentials_file` (a shared credentials file and a profile in it; without them the SDK's own
// chain decides), `anonymous`, `ssetype` and `kmskeyid` (encryption at rest), `accelerate`, `dualstack`, `fips`,
// `request_checksum_calculation` and `response_checksum_validation` (`when_required` for servers without checksums).
//
// Parameters of azblob: `credentials_file` (a file with the connection string of a storage account, its key included), or
// `account` with the identity of this process (workload identity, managed identity, or what else the default chain of Azure
// finds), and then `endpoint` if it is not https://ACCOUNT.blob.core.windows.net.
//
// A credential never stands in the URL.
package staging
