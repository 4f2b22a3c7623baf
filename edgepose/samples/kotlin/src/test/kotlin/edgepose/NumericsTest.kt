// The numbers that edgepose's own Python gives, see Vectors.kt. SPDX-License-Identifier: Apache-2.0
package edgepose

import kotlin.math.abs
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test

class NumericsTest {
    private fun image(): Image {
        val pixels = IntArray(Vectors.IMAGE_WIDTH * Vectors.IMAGE_HEIGHT) { i ->
            val (x, y) = Pair(i % Vectors.IMAGE_WIDTH, i / Vectors.IMAGE_WIDTH)
            val (red, green, blue) = List(3) { c -> (x * 31 + y * 17 + c * 53) % 256 }
            (red shl 16) or (green shl 8) or blue
        }
        return Image(
            pixels, Vectors.IMAGE_WIDTH, Vectors.IMAGE_HEIGHT,
            0, 0, Vectors.IMAGE_WIDTH, Vectors.IMAGE_HEIGHT
        )
    }

    private fun matrix(centers: Boolean) =
        Numerics.cropMatrix(Vectors.BOX, 1.25, Vectors.CROP_WIDTH, Vectors.CROP_HEIGHT, centers)

    private fun checkCrop(centers: Boolean, expectedMatrix: DoubleArray, expected: IntArray) {
        val m = matrix(centers)
        val found = doubleArrayOf(m.a, m.b, m.c, m.d, m.e, m.f)
        for (i in 0 until 6) assertEquals(expectedMatrix[i], found[i], 1e-9)
        val crop = Numerics.crop(image(), m, Vectors.CROP_WIDTH, Vectors.CROP_HEIGHT)
        assertEquals(expected.size, crop.size)
        for (i in crop.indices) assertTrue("value $i", abs(crop[i] - expected[i]) <= 1)
    }

    private fun checkJoints(rule: Rule, centers: Boolean, expected: FloatArray) {
        val heatmaps = FloatArray(Vectors.HEATMAPS.size) { Vectors.HEATMAPS[it] / 256.0f }
        val (height, width) = Pair(Vectors.HEATMAP_HEIGHT, Vectors.HEATMAP_WIDTH)
        val found = Numerics.decode(heatmaps, Vectors.JOINTS, height, width, rule, 1.0)
        val joints = Numerics.toImage(
            found, matrix(centers),
            Numerics.pitch(4, width, centers), Numerics.pitch(4, height, centers)
        )
        assertEquals(expected.size, 3 * joints.size)
        for ((i, joint) in joints.withIndex()) {
            assertEquals(expected[3 * i], joint.x, 1e-3f)
            assertEquals(expected[3 * i + 1], joint.y, 1e-3f)
            assertEquals(expected[3 * i + 2], joint.score, 1e-6f)
        }
    }

    @Test
    fun cropsByEdges() = checkCrop(false, Vectors.MATRIX_EDGES, Vectors.CROP_EDGES)

    @Test
    fun cropsByCenters() = checkCrop(true, Vectors.MATRIX_CENTERS, Vectors.CROP_CENTERS)

    @Test
    fun decodesByQuarterPixel() = checkJoints(Rule.QUARTER_PIXEL, false, Vectors.QUARTER_PIXEL)

    @Test
    fun decodesByDark() = checkJoints(Rule.DARK, false, Vectors.DARK)

    @Test
    fun decodesByDarkUdp() = checkJoints(Rule.DARK_UDP, true, Vectors.DARK_UDP)

    @Test
    fun normalisesInTheNetworksOrder() {
        val values = Numerics.normalise(
            intArrayOf(255, 51, 0), doubleArrayOf(0.5, 0.25, 0.0), doubleArrayOf(0.25, 0.5, 1.0), true
        )
        assertEquals(-2.0f, values[0], 1e-6f)
        assertEquals(-0.1f, values[1], 1e-6f)
        assertEquals(1.0f, values[2], 1e-6f)
    }

    @Test
    fun choosesTheSizeThatFitsTheBox() {
        val sizes = List(Vectors.SIZES.size / 2) { CropSize(Vectors.SIZES[2 * it], Vectors.SIZES[2 * it + 1]) }
        for ((i, expected) in Vectors.CHOSEN.withIndex()) {
            val box = Box(3.0, 5.0, Vectors.BOXES[2 * i], Vectors.BOXES[2 * i + 1])
            assertEquals(expected, Numerics.chooseSize(box, sizes))
        }
    }

    @Test
    fun readsTheJointsOfAWholePoseGraph() {
        val found = Numerics.readJoints(Vectors.FROM_GRAPH, Vectors.FROM_GRAPH.size / 3)
        for ((i, joint) in Numerics.toImage(found, matrix(false), 1.0, 1.0).withIndex()) {
            assertEquals(Vectors.PLACED[3 * i], joint.x, 1e-3f)
            assertEquals(Vectors.PLACED[3 * i + 1], joint.y, 1e-3f)
            assertEquals(Vectors.PLACED[3 * i + 2], joint.score, 1e-6f)
        }
    }

    @Test
    fun keepsBytesInTheNetworksOrder() {
        val rgb = intArrayOf(255, 51, 0, 1, 2, 3)
        assertEquals(listOf<Byte>(-1, 51, 0, 1, 2, 3), Numerics.bytes(rgb, false).toList())
        assertEquals(listOf<Byte>(0, 51, -1, 3, 2, 1), Numerics.bytes(rgb, true).toList())
    }

    @Test(expected = IllegalStateException::class)
    fun refusesNaN() {
        Numerics.decode(FloatArray(16) { Float.NaN }, 1, 4, 4, Rule.QUARTER_PIXEL, 1.0)
    }

    @Test(expected = IllegalArgumentException::class)
    fun refusesABoxWithoutArea() {
        Numerics.cropMatrix(Box(1.0, 1.0, 0.0, 5.0), 1.25, 4, 4, false)
    }
}
