// One person at a time: picture and box in, joints in picture pixels out. SPDX-License-Identifier: Apache-2.0
package edgepose

import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtSession
import android.graphics.Bitmap
import java.nio.FloatBuffer
import org.json.JSONObject

/**
 * read: the bytes of a file of the artifact by its path, e.g. from the app's assets:
 * `PoseEstimator { name -> assets.open("pose/$name").use { it.readBytes() } }`
 */
class PoseEstimator(threads: Int = 2, read: (String) -> ByteArray) : AutoCloseable {
    val contract = Contract(JSONObject(String(read("artifact.json"), Charsets.UTF_8)))
    private val environment = OrtEnvironment.getEnvironment()
    private val session: OrtSession = OrtSession.SessionOptions().use { options ->
        options.setIntraOpNumThreads(threads)
        environment.createSession(read(contract.model), options)
    }

    /** Not to be called from two threads at once. The bitmap must be readable (not Config.HARDWARE). */
    fun joints(picture: Bitmap, box: Box): List<Joint> {
        val c = contract
        val matrix = Numerics.cropMatrix(box, c.padding, c.width, c.height, c.centers)
        val rgb = Numerics.crop(pixels(picture, matrix), matrix, c.width, c.height)
        val input = Numerics.normalise(rgb, c.mean, c.std, c.bgr)
        val heatmaps = infer(input)
        val sigma = Numerics.sigmaPixels(c.sigma, c.heatmapHeight, c.heatmapWidth)
        val found = Numerics.decode(heatmaps, c.joints.size, c.heatmapHeight, c.heatmapWidth, c.rule, sigma)
        return Numerics.toImage(
            found, matrix,
            Numerics.pitch(c.stride, c.heatmapWidth, c.centers),
            Numerics.pitch(c.stride, c.heatmapHeight, c.centers)
        )
    }

    /** Only what the crop touches is copied out of the bitmap. */
    private fun pixels(picture: Bitmap, matrix: Affine): Image {
        val (left, top, columns, rows) =
            Numerics.touched(matrix, contract.width, contract.height, picture.width, picture.height)
        val pixels = IntArray(columns * rows)
        picture.getPixels(pixels, 0, columns, left, top, columns, rows)
        return Image(pixels, picture.width, picture.height, left, top, columns, rows)
    }

    private fun infer(input: FloatArray): FloatArray {
        val shape = longArrayOf(1, 3, contract.height.toLong(), contract.width.toLong())
        OnnxTensor.createTensor(environment, FloatBuffer.wrap(input), shape).use { tensor ->
            session.run(mapOf(contract.inputName to tensor)).use { result ->
                val heatmaps = result.get(contract.outputName).get() as OnnxTensor
                val values = heatmaps.floatBuffer
                return FloatArray(values.remaining()).also { values.get(it) }
            }
        }
    }

    override fun close() {
        session.close()
    }
}
