package rows

import (
	"os/exec"
	"syscall"
)

// endWithParent has the kernel end the process when we are killed and clean up nothing.
func endWithParent(command *exec.Cmd) {
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
}
