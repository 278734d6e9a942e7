package histories

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store/sqlstore"
)

// A disk is a small file system in memory that can be filled.
type disk struct{ dir string }

// newDisk mounts a disk, which only root may do, and keeps all temporary files on it.
func newDisk(t *testing.T, size string) disk {
	t.Helper()
	d := disk{t.TempDir()}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "mode=755,size="+size, "tmpfs", d.dir).CombinedOutput(); err != nil {
		t.Skipf("a disk cannot be mounted: %v %s", err, out)
	}
	t.Cleanup(func() { require.NoError(t, exec.Command("umount", "--lazy", d.dir).Run()) })
	t.Setenv("TMPDIR", d.dir)
	return d
}

func (d disk) file() string { return filepath.Join(d.dir, "full") }

func (d disk) fill() error {
	f, err := os.Create(d.file())
	if err != nil {
		return err
	}
	defer f.Close()
	for size := 64 << 10; size > 0; {
		if _, err = f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return err
	}
	return nil
}

func (d disk) free() error { return os.Remove(d.file()) }

// withFullDisk replaces the faults of a setup: the disk is full for a while. A server that
// has given up is started again.
func (d disk) withFullDisk(s setup, server *servers.Server) setup {
	s.faults = []fault{{
		name: "disk full", begin: d.fill, lasts: time.Second,
		end: func() error {
			err := d.free()
			if server != nil {
				err = errors.Join(err, server.Kill(), server.Start())
			}
			return err
		},
	}}
	return s
}

func redisDiskSetup(t *testing.T) setup {
	d := newDisk(t, "400m") // the append-only file only grows
	server := servers.Redis(t, servers.RedisOptions{Keeps: true})
	f := startFleet(t, func(int) nodeConfig { return nodeConfig{Redis: []string{server.Addr}} })
	return d.withFullDisk(setup{fleet: f}, server)
}

func postgresDiskSetup(t *testing.T) setup {
	d := newDisk(t, "160m")
	server := servers.PostgreSQL(t)
	return d.withFullDisk(sqlSetup(t, server, sqlstore.PostgreSQL), server)
}

func sqliteDiskSetup(t *testing.T) setup {
	d := newDisk(t, "16m")
	s := d.withFullDisk(sqliteSetup(t, d.dir), nil)
	s.policy.Unanswered = false // nobody is killed
	return s
}
