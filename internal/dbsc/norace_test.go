//go:build !race

package dbsc

const raceDetector = false
