// From a person's box to joints: crop, normalise, decode. Kotlin's own library, nothing else.
// Coordinates are pixels, 0-based, pixel centres at integers; C++'s pose_numerics.hpp has the same
// functions line by line. SPDX-License-Identifier: Apache-2.0
package edgepose

import kotlin.math.exp
import kotlin.math.floor
import kotlin.math.ln
import kotlin.math.max
import kotlin.math.min

/** A person's box, image pixels. */
data class Box(val x: Double, val y: Double, val width: Double, val height: Double)

/** x' = a x + b y + c, y' = d x + e y + f */
data class Affine(
    val a: Double, val b: Double, val c: Double, val d: Double, val e: Double, val f: Double
)

data class Joint(val x: Float, val y: Float, val score: Float)

/** Pixels 0xAARRGGBB, row by row, as Bitmap.getPixels gives them; (left, top): where they begin in the
 * whole image of width x height, `columns` of them in a row. */
class Image(
    val pixels: IntArray, val width: Int, val height: Int,
    val left: Int, val top: Int, val columns: Int, val rows: Int
)

/** Pixels. */
data class CropSize(val width: Int, val height: Int)

/** How heatmaps are read: artifact.json's codec.rule. */
enum class Rule { QUARTER_PIXEL, DARK, DARK_UDP }

object Numerics {
    /** Image pixels to crop pixels. The region has the crop's shape and covers the box with a margin.
     * centers: artifact.json's crop.alignment is "centers", else "edges" */
    fun cropMatrix(
        box: Box, padding: Double, outWidth: Int, outHeight: Int, centers: Boolean
    ): Affine {
        require(box.width > 0 && box.height > 0 && (box.x + box.y + box.width + box.height).isFinite()) {
            "a box needs a width and a height above zero"
        }
        val aspect = outWidth.toDouble() / outHeight.toDouble()
        val regionWidth = padding * max(box.width, box.height * aspect)
        val regionHeight = regionWidth / aspect
        val inset = if (centers) 1.0 else 0.0
        val scaleX = (outWidth - inset) / regionWidth
        val scaleY = (outHeight - inset) / regionHeight
        require(scaleX * scaleY > 0 && (scaleX * scaleY).isFinite()) { "the box is too large or too small for a picture" }
        val centerX = box.x + 0.5 * box.width
        val centerY = box.y + 0.5 * box.height
        return Affine(
            scaleX, 0.0, 0.5 * (outWidth - inset) - scaleX * centerX,
            0.0, scaleY, 0.5 * (outHeight - inset) - scaleY * centerY
        )
    }

    /** Which of several crop sizes a person is looked at with: the one whose area is nearest above the
     * box's (a larger one only magnifies), else the largest. As `edgepose predict` chooses. */
    fun chooseSize(box: Box, sizes: List<CropSize>): Int {
        require(sizes.isNotEmpty()) { "there is no crop size to choose from" }
        val wanted = box.width * box.height
        var best = 0
        for (i in 1 until sizes.size) {
            val area = sizes[i].width.toDouble() * sizes[i].height
            val least = sizes[best].width.toDouble() * sizes[best].height
            val better = if (least >= wanted) area >= wanted && area < least else area > least
            if (better) best = i
        }
        return best
    }

    fun invert(m: Affine): Affine {
        val determinant = m.a * m.e - m.b * m.d
        val a = m.e / determinant
        val b = -m.b / determinant
        val d = -m.d / determinant
        val e = m.a / determinant
        return Affine(a, b, -(a * m.c + b * m.f), d, e, -(d * m.c + e * m.f))
    }

    /** The part of a width x height image that a crop touches: left, top, columns, rows. */
    fun touched(matrix: Affine, outWidth: Int, outHeight: Int, width: Int, height: Int): IntArray {
        val back = invert(matrix)
        val left = min(max(floor(back.c).toInt(), 0), width - 1)
        val top = min(max(floor(back.f).toInt(), 0), height - 1)
        val right = min(max(floor(back.a * (outWidth - 1) + back.c).toInt() + 2, left + 1), width)
        val bottom = min(max(floor(back.e * (outHeight - 1) + back.f).toInt() + 2, top + 1), height)
        return intArrayOf(left, top, right - left, bottom - top)
    }

    private fun tap(image: Image, x: Int, y: Int, shift: Int): Float {
        if (x < 0 || y < 0 || x >= image.width || y >= image.height) return 0.0f
        val pixel = image.pixels[(y - image.top) * image.columns + (x - image.left)]
        return ((pixel shr shift) and 0xff).toFloat()
    }

    /** Bilinear crop, zero outside the image: RGB 0..255, row by row. */
    fun crop(image: Image, matrix: Affine, outWidth: Int, outHeight: Int): IntArray {
        val back = invert(matrix)
        val shifts = intArrayOf(16, 8, 0)
        val out = IntArray(outWidth * outHeight * 3)
        for (row in 0 until outHeight) {
            for (column in 0 until outWidth) {
                val x = min(max(back.a * column + (back.b * row + back.c), -1.0), image.width.toDouble())
                val y = min(max(back.d * column + (back.e * row + back.f), -1.0), image.height.toDouble())
                val left = floor(x).toInt()
                val top = floor(y).toInt()
                val fx = (x - left).toFloat()
                val fy = (y - top).toFloat()
                for (c in 0 until 3) {
                    var upper = tap(image, left, top, shifts[c])
                    upper += (tap(image, left + 1, top, shifts[c]) - upper) * fx
                    var lower = tap(image, left, top + 1, shifts[c])
                    lower += (tap(image, left + 1, top + 1, shifts[c]) - lower) * fx
                    val value = Math.rint((upper + (lower - upper) * fy).toDouble())
                    out[(row * outWidth + column) * 3 + c] = value.toInt()
                }
            }
        }
        return out
    }

    /** RGB 0..255 -> (3, height, width): (value / 255 - mean) / std, in the network's channel order. */
    fun normalise(rgb: IntArray, mean: DoubleArray, std: DoubleArray, bgr: Boolean): FloatArray {
        val count = rgb.size / 3
        val out = FloatArray(rgb.size)
        for (c in 0 until 3) {
            val scale = (1.0 / (255.0 * std[c])).toFloat()
            val offset = (mean[c] / std[c]).toFloat()
            val source = if (bgr) 2 - c else c
            for (i in 0 until count) {
                out[c * count + i] = rgb[i * 3 + source].toFloat() * scale - offset
            }
        }
        return out
    }

    /** Logarithm of the map that begins at `start`, smoothed by a Gaussian, around (x, y): 5 x 5 values
     * from (x - 2, y - 2) on. */
    private fun logAround(
        maps: FloatArray, start: Int, width: Int, height: Int, x: Int, y: Int, sigma: Double, least: Double
    ): DoubleArray {
        val reach = max(1, (2.5 * sigma + 0.5).toInt())
        val pad = reach + 2
        val side = 2 * pad + 1
        val kernel = DoubleArray(2 * reach + 1)
        var total = 0.0
        for (i in -reach..reach) {
            kernel[i + reach] = exp(-0.5 * (i / sigma) * (i / sigma))
            total += kernel[i + reach]
        }
        val rows = DoubleArray(5 * side) // smoothed along x: side rows of 5
        for (j in 0 until side) {
            val atY = y + j - pad
            if (atY < 0 || atY >= height) continue
            for (i in 0 until 5) {
                var sum = 0.0
                for (k in -reach..reach) {
                    val atX = x + i - 2 + k
                    if (atX >= 0 && atX < width) {
                        sum += kernel[k + reach] / total * maps[start + atY * width + atX]
                    }
                }
                rows[j * 5 + i] = sum
            }
        }
        val out = DoubleArray(25)
        for (j in 0 until 5) {
            for (i in 0 until 5) {
                var sum = 0.0
                for (k in 0..2 * reach) {
                    sum += kernel[k] / total * rows[(j + k) * 5 + i]
                }
                out[j * 5 + i] = ln(max(sum, least))
            }
        }
        return out
    }

    /** The top of the parabola through five derivatives, seen from the peak: minus H^-1 g. */
    private fun moved(
        x: Int, y: Int, score: Float, dx: Double, dy: Double, dxx: Double, dyy: Double, dxy: Double
    ): Joint {
        val curvature = dxx * dyy - dxy * dxy
        if (curvature == 0.0) return Joint(x.toFloat(), y.toFloat(), score)
        return Joint(
            (x - (dyy * dx - dxy * dy) / curvature).toFloat(),
            (y - (dxx * dy - dxy * dx) / curvature).toFloat(), score
        )
    }

    /** A whole-pixel peak, moved a quarter pixel towards the higher neighbour on each axis. */
    private fun refineQuarter(
        maps: FloatArray, start: Int, width: Int, height: Int, x: Int, y: Int, score: Float
    ): Joint {
        if (!(x > 1 && x < width - 1 && y > 1 && y < height - 1)) {
            return Joint(x.toFloat(), y.toFloat(), score)
        }
        val at = start + y * width + x
        val right = maps[at + 1] - maps[at - 1]
        val down = maps[at + width] - maps[at - width]
        val moveX = if (right > 0) 0.25f else if (right < 0) -0.25f else 0.0f
        val moveY = if (down > 0) 0.25f else if (down < 0) -0.25f else 0.0f
        return Joint(x + moveX, y + moveY, score)
    }

    /** Zhang et al. 2020 (DARK). Peaks within two pixels of the border stay. */
    private fun refineDark(
        maps: FloatArray, start: Int, width: Int, height: Int, x: Int, y: Int, score: Float, sigma: Double
    ): Joint {
        if (!(x > 1 && x < width - 2 && y > 1 && y < height - 2)) {
            return Joint(x.toFloat(), y.toFloat(), score)
        }
        val m = logAround(maps, start, width, height, x, y, sigma, 1e-10)
        val dx = 0.5 * (m[13] - m[11])
        val dy = 0.5 * (m[17] - m[7])
        val dxx = 0.25 * (m[14] - 2.0 * m[12] + m[10])
        val dyy = 0.25 * (m[22] - 2.0 * m[12] + m[2])
        val dxy = 0.25 * (m[18] - m[8] - m[16] + m[6])
        return moved(x, y, score, dx, dy, dxx, dyy, dxy)
    }

    /** Huang et al. 2020 (UDP). Beyond the border the map goes on as it ends. */
    private fun refineUdp(
        maps: FloatArray, start: Int, width: Int, height: Int, x: Int, y: Int, score: Float, sigma: Double
    ): Joint {
        val log = logAround(maps, start, width, height, x, y, sigma, 1e-3)
        val m = DoubleArray(9)
        for (j in 0 until 3) {
            for (i in 0 until 3) {
                val column = min(max(x + i - 1, 0), width - 1) - x + 2
                val row = min(max(y + j - 1, 0), height - 1) - y + 2
                m[j * 3 + i] = log[row * 5 + column]
            }
        }
        val tiny = 1.0 / 8388608.0 // float's epsilon
        val dx = 0.5 * (m[5] - m[3])
        val dy = 0.5 * (m[7] - m[1])
        val dxx = m[5] - 2.0 * m[4] + m[3] + tiny
        val dyy = m[7] - 2.0 * m[4] + m[1] + tiny
        val dxy = 0.5 * (m[8] + m[0] + 2.0 * m[4] - m[5] - m[7] - m[3] - m[1])
        return moved(x, y, score, dx, dy, dxx, dyy, dxy)
    }

    /** (joints, height, width) heatmaps -> joints in heatmap pixels; the score is the maximum.
     * sigma: of the Gaussian that the network was trained to draw, heatmap pixels (see sigmaPixels) */
    fun decode(
        heatmaps: FloatArray, joints: Int, height: Int, width: Int, rule: Rule, sigma: Double
    ): List<Joint> {
        require(joints > 0 && heatmaps.size == joints * height * width) {
            "the heatmaps are not of the size that artifact.json names"
        }
        val out = ArrayList<Joint>()
        for (j in 0 until joints) {
            val start = j * height * width
            var best = 0
            for (i in 0 until height * width) {
                check(heatmaps[start + i].isFinite()) { "a heatmap holds NaN or infinity" }
                if (heatmaps[start + i] > heatmaps[start + best]) best = i
            }
            val score = heatmaps[start + best]
            val x = if (score > 0) best % width else 0
            val y = if (score > 0) best / width else 0
            out.add(
                when (rule) {
                    Rule.QUARTER_PIXEL -> refineQuarter(heatmaps, start, width, height, x, y, score)
                    Rule.DARK -> refineDark(heatmaps, start, width, height, x, y, score, sigma)
                    Rule.DARK_UDP -> refineUdp(heatmaps, start, width, height, x, y, score, sigma)
                }
            )
        }
        return out
    }

    /** RGB 0..255 -> the bytes that a whole-pose graph takes, in the network's channel order. */
    fun bytes(rgb: IntArray, bgr: Boolean): ByteArray =
        ByteArray(rgb.size) { i -> rgb[if (bgr) i - i % 3 + (2 - i % 3) else i].toByte() }

    /** What a whole-pose graph gives, x, y, score for each joint, as joints in crop pixels. */
    fun readJoints(values: FloatArray, joints: Int): List<Joint> {
        require(joints > 0 && values.size == joints * 3) {
            "the joints are not as many as artifact.json names"
        }
        check(values.all { it.isFinite() }) { "a joint holds NaN or infinity" }
        return List(joints) { j -> Joint(values[3 * j], values[3 * j + 1], values[3 * j + 2]) }
    }

    /** artifact.json's codec.sigma is for 64 x 64 heatmaps; it grows with the longer side. */
    fun sigmaPixels(sigma: Double, height: Int, width: Int): Double =
        max(1.0, sigma * max(height, width) / 64.0)

    /** Crop pixels per heatmap pixel along a side of `count` heatmap pixels. */
    fun pitch(stride: Int, count: Int, centers: Boolean): Double =
        if (centers) (stride.toDouble() * count - 1.0) / max(count - 1, 1) else stride.toDouble()

    /** Heatmap pixels -> image pixels. */
    fun toImage(joints: List<Joint>, matrix: Affine, pitchX: Double, pitchY: Double): List<Joint> {
        val back = invert(matrix)
        return joints.map { joint ->
            val x = joint.x * pitchX
            val y = joint.y * pitchY
            Joint(
                (back.a * x + back.b * y + back.c).toFloat(),
                (back.d * x + back.e * y + back.f).toFloat(), joint.score
            )
        }
    }
}
