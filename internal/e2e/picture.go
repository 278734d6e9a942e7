package e2e

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"html/template"
	"image"
	"image/color"
	"image/png"
	"maps"
	"slices"
)

// dataURL returns a PNG as the address of an image.
func dataURL(png []byte) template.URL {
	return template.URL("data:image/png;base64," + base64.StdEncoding.EncodeToString(png))
}

// smallPNG encodes a picture in the 256 colours that it has most of. A page has few colours:
// the others, at the edges of letters, become the nearest of these.
func smallPNG(picture image.Image) ([]byte, error) {
	count := map[color.Color]int{}
	bounds := picture.Bounds()
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			count[picture.At(x, y)]++
		}
	}
	// In an order that does not depend on the map's, so that the same picture is the same file.
	brightness := func(c color.Color) int { r, g, b, _ := c.RGBA(); return int(r)<<32 | int(g)<<16 | int(b) }
	colours := slices.SortedFunc(maps.Keys(count), func(a, b color.Color) int {
		return cmp.Or(cmp.Compare(count[b], count[a]), cmp.Compare(brightness(a), brightness(b)))
	})
	palette := color.Palette(colours[:min(256, len(colours))])
	index := make(map[color.Color]uint8, len(colours))
	for _, c := range colours {
		index[c] = uint8(palette.Index(c))
	}
	small := image.NewPaletted(bounds, palette)
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			small.SetColorIndex(x, y, index[picture.At(x, y)])
		}
	}
	var file bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	err := encoder.Encode(&file, small)
	return file.Bytes(), err
}
