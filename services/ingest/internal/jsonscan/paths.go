package jsonscan

import (
	"encoding/json"
	"strings"
)

// Paths calls found with the path of every value in a record that can be addressed, an object's own before those of its
// members. A record that is not JSON has none.
func Paths(record []byte, found func(path string)) { paths(record, "", 0, found) }

func paths(value []byte, prefix string, depth int, found func(path string)) {
	var object map[string]json.RawMessage
	if depth > MaxDepth || json.Unmarshal(value, &object) != nil {
		return
	}
	for key, member := range object {
		if key == "" || strings.Contains(key, ".") {
			continue
		}
		found(prefix + key)
		paths(member, prefix+key+".", depth+1, found)
	}
}
