package logattrs

import (
	"bytes"
	"context"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEmptyAttributesAndGroupsAreLeftOut(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	var f Fields
	log.LogAttrs(context.Background(), slog.LevelInfo, "m",
		f.Text("a", "").Count("b", 0).Nest("c").Group("empty"),
		f.Text("a", "1").Text("b", "").Count("c", 2).Group("x"),
		f.Text("a", "3").Nest("inner").Text("b", "4").Group("y"),
		f.Group("empty"))
	require.Equal(t, "level=INFO msg=m x.a=1 x.c=2 y.inner.a=3 y.b=4\n", out.String())
}

func TestGroupsShareOneAllocation(t *testing.T) {
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() {
		var f Fields
		f.Text("a", "1").Group("x")
		f.Text("b", "2").Count("c", 3).Group("y")
	}), 1.0)
}
