//go:build race

package dbsc

const raceDetector = true
