package apptest

import (
	"os"
	"os/exec"
	"testing"
)

const runProgram = "APPTEST_RUN_PROGRAM"

// Main is the TestMain of a program whose tests start it, with [Program], from the test binary.
func Main(m *testing.M, main func()) {
	if os.Getenv(runProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// Program returns a command that runs the program of [Main] with these arguments.
func Program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	command := exec.CommandContext(t.Context(), os.Args[0], args...)
	command.Env = append(os.Environ(), runProgram+"=1")
	return command
}
