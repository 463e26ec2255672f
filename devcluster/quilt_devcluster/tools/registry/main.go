// The registry of the CNCF's distribution that keeps its data in a folder. Its own program has the stores of
// three clouds as well, which double the time of the build.
package main

import (
	"github.com/distribution/distribution/v3/registry"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
)

func main() {
	// A command that fails ends the program by itself.
	_ = registry.RootCmd.Execute()
}
