package azureblob

import (
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/lume-data/lume/connector/internal/blob"
)

// maxNameChars is the longest name of a blob, in characters.
const maxNameChars = 1024

// location maps two forms of URIs to blob names: azblob://container/name, in which the name stands as it is, and the blob's URL,
// whose path is decoded once.
func location(endpoint, container, prefix string) blob.Location {
	base, web := "azblob://"+container+"/", endpoint+"/"+container+"/"
	return blob.Location{
		Prefix: prefix,
		Format: func(key string) string { return base + key },
		Parse: func(path string) (string, error) {
			if signature.MatchString(path) {
				return "", blob.InvalidPath(shown(path), "holds a shared access signature", "write the path without it, and set it as sas_token of the connector")
			}
			if key, ok := strings.CutPrefix(path, base); ok {
				return key, checkName(path, key)
			}
			encoded, ok := strings.CutPrefix(path, web)
			if !ok {
				return "", blob.Outside(shown(path), base+prefix)
			}
			if strings.ContainsAny(encoded, "?#") {
				return "", blob.InvalidPath(shown(path), "holds a query or a fragment", "write ? as %3F and # as %23, or use the form "+base+"…")
			}
			key, err := url.PathUnescape(encoded)
			if err != nil {
				return "", blob.InvalidPath(path, "is not percent-encoded", "write % as %25, or use the form "+base+"…")
			}
			return key, checkName(path, key)
		},
	}
}

// signature finds shared access signatures in a path, so that no error repeats them.
var signature = regexp.MustCompile(`(?i)[?&]sig=`)

// shown is a path for messages: that of a URL without user, query and fragment, where people leave secrets.
func shown(path string) string {
	scheme, rest, ok := strings.Cut(path, "://")
	web := ok && (strings.EqualFold(scheme, "https") || strings.EqualFold(scheme, "http"))
	if web || signature.MatchString(path) {
		rest, _, _ = strings.Cut(rest, "?")
		rest, _, _ = strings.Cut(rest, "#")
		host, name, ok := strings.Cut(rest, "/")
		host = host[strings.LastIndexByte(host, '@')+1:]
		if path = scheme + "://" + host; ok {
			path += "/" + name
		}
	}
	return path
}

// checkName refuses names that Azure, or a client of it, takes for others.
func checkName(path, name string) error {
	switch {
	case utf8.RuneCountInString(name) > maxNameChars:
		return blob.InvalidPath(path, "is longer than a blob's name can be ("+strconv.Itoa(maxNameChars)+" characters)", "check the path")
	case strings.Contains(name, `\`):
		return blob.InvalidPath(path, `holds a backslash, which clients of Azure take for a slash`, "rename the blob")
	}
	return blob.CheckKey(path, name)
}
