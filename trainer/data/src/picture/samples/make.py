"""Makes the pictures beside it with Pillow (13.0), each of the same 24×16 pixels; run in this folder.

Red grows by 10 from column to column, green by 15 from row to row, blue is 128.
"""

import struct

from PIL import Image

WIDTH, HEIGHT = 24, 16

rgb = Image.new("RGB", (WIDTH, HEIGHT))
rgb.putdata([(10 * x, 15 * y, 128) for y in range(HEIGHT) for x in range(WIDTH)])
grey = rgb.convert("L")
clear = rgb.convert("RGBA")
clear.putalpha(Image.new("L", (WIDTH, HEIGHT), 100))
# All its colours fit in a palette only as grey ones.
palette = grey.convert("P")
cmyk = rgb.convert("CMYK")
deep = Image.new("I;16", (WIDTH, HEIGHT))
deep.putdata([257 * value for value in grey.getdata()])
bits = grey.convert("1", dither=Image.Dither.NONE)
other = Image.new("RGB", (WIDTH, HEIGHT), (255, 255, 0))

jpeg = dict(quality=97, subsampling=0)
rgb.save("progressive.jpg", progressive=True, **jpeg)
grey.save("progressive-grey.jpg", progressive=True, quality=97)
rgb.save("optimised.jpg", optimize=True, quality=97, subsampling=2)
rgb.save("progressive-420.jpg", progressive=True, quality=97, subsampling=2)
rgb.save("restart.jpg", restart_marker_blocks=1, **jpeg)
cmyk.save("cmyk.jpg", quality=97)
rgb.save("lossless.webp", lossless=True)
rgb.save("lossy.webp", quality=95)
clear.save("clear.webp", lossless=True, exact=True)
rgb.save("animated.webp", lossless=True, save_all=True, append_images=[other])
rgb.save("animated.png", save_all=True, append_images=[other])
palette.save("palette.png", transparency=3)
bits.save("bits.png")
deep.save("deep.png")
rgb.save("rgb.bmp")
palette.save("palette.bmp")
bits.save("bits.bmp")
for name, picture in dict(rgb=rgb, grey=grey, clear=clear, cmyk=cmyk, deep=deep, bits=bits, palette=palette).items():
    picture.save(f"{name}.tiff")
for compression in ["tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "group4"]:
    picture = bits if compression == "group4" else rgb
    picture.save(f"{compression}.tiff", compression=compression, **(dict(quality=97) if compression == "jpeg" else {}))
rgb.save("pages.tiff", save_all=True, append_images=[other])
# White is zero: the tag 262 is 0, the values are those of black is zero.
white = bytearray(open("grey.tiff", "rb").read())
at = white.index(struct.pack("<HHI", 262, 3, 1))
white[at + 8 : at + 10] = b"\0\0"
open("white-is-zero.tiff", "wb").write(white)
exif = Image.Exif()
exif[0x112] = 6
for name in ["turned.jpg", "turned.png", "turned.webp", "turned.tiff"]:
    more = dict(jpeg) if name.endswith("jpg") else dict(lossless=True) if name.endswith("webp") else {}
    rgb.save(name, exif=exif, **more)
