package sqltest

import (
	"context"

	"github.com/sessionguard-go/sessionguard/store"
)

// list returns what All yields, also before an error.
func list(ctx context.Context, s store.Lister, realm string) (records []store.Record, err error) {
	for rec, err := range s.All(ctx, realm) {
		if err != nil {
			return records, err
		}
		records = append(records, rec)
	}
	return records, nil
}
