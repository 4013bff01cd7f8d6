package cli

import "fmt"

// pageSize is how many items one call asks for.
const pageSize = 200

// collect follows pages until limit items are there; a limit of 0 takes them all. more says that the server has others.
func collect[T any](limit int, page func(size int32, token string) ([]T, string, error)) (items []T, more bool, err error) {
	for token := ""; ; {
		size := pageSize
		if limit > 0 {
			size = min(size, limit-len(items))
		}
		got, next, err := page(int32(size), token)
		if err != nil {
			return nil, false, err
		}
		items = append(items, got...)
		if next == "" || (limit > 0 && len(items) >= limit) {
			return items, next != "", nil
		}
		token = next
	}
}

// noteMore tells people that a listing was cut.
func (a *app) noteMore(more bool, shown int) {
	if more {
		fmt.Fprintf(a.env.Err, "There are more than these %d: --limit takes another number, 0 for all.\n", shown)
	}
}
