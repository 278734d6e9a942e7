package values_test

import (
	"fmt"

	"github.com/sessionguard-go/sessionguard/internal/values"
)

// Two requests load the same session. One adds a flash message and saves first. The other
// shows the old message, changes the theme, and then finds that the session has changed.
func ExampleMerge() {
	encode := func(m map[any]any) values.Entries {
		e, err := values.Encode(m, nil)
		if err != nil {
			panic(err)
		}
		return e
	}
	base := encode(map[any]any{"theme": "light", "_flash": []any{"old"}})
	latest := encode(map[any]any{"theme": "light", "_flash": []any{"old", "new"}})
	mine := encode(map[any]any{"theme": "dark"})

	merged, err := values.Merge(base, mine, latest).Decode()
	fmt.Println(merged, err)
	// Output: map[_flash:[new] theme:dark] <nil>
}
