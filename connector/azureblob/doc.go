// Package azureblob is the connector to Azure Blob Storage.
//
// It is connector/internal/blob over the client of Azure's own SDK. That of gocloud.dev/blob escapes characters in blob names
// and lets nobody correct it, so that it could not read every blob. What is here is the spec, the client with its credentials,
// the two forms of a blob's URI, uploads by blocks, and what Azure's errors mean.
package azureblob
