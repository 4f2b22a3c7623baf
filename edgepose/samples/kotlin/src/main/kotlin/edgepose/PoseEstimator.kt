// One person at a time: picture and box in, joints in picture pixels out. SPDX-License-Identifier: Apache-2.0
package edgepose

import ai.onnxruntime.OnnxJavaType
import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtSession
import android.graphics.Bitmap
import java.nio.ByteBuffer
import java.nio.FloatBuffer
import org.json.JSONObject

/**
 * read: the bytes of a file of the artifact by its path, e.g. from the app's assets:
 * `PoseEstimator { name -> assets.open("pose/$name").use { it.readBytes() } }`
 */
class PoseEstimator(threads: Int = 2, read: (String) -> ByteArray) : AutoCloseable {
    val contract = Contract(JSONObject(String(read("artifact.json"), Charsets.UTF_8)))
    private val environment = OrtEnvironment.getEnvironment()
    private val sessions: List<OrtSession> = OrtSession.SessionOptions().use { options ->
        options.setIntraOpNumThreads(threads)
        contract.networks.map { environment.createSession(read(it.model), options) }
    }

    /** Not to be called from two threads at once. The bitmap must be readable (not Config.HARDWARE).
     * Where the artifact has several crop sizes, the person gets the one that fits the box. */
    fun joints(picture: Bitmap, box: Box): List<Joint> {
        val c = contract
        val size = Numerics.chooseSize(box, c.sizes)
        val n = c.networks[size]
        val matrix = Numerics.cropMatrix(box, c.padding, n.width, n.height, c.centers)
        val rgb = Numerics.crop(pixels(picture, matrix, n), matrix, n.width, n.height)
        val found = tensor(rgb, n).use { infer(sessions[size], n, it) }
        if (n.wholePose) {
            return Numerics.toImage(Numerics.readJoints(found, c.joints.size), matrix, 1.0, 1.0)
        }
        val sigma = Numerics.sigmaPixels(c.sigma, n.heatmapHeight, n.heatmapWidth)
        return Numerics.toImage(
            Numerics.decode(found, c.joints.size, n.heatmapHeight, n.heatmapWidth, c.rule, sigma), matrix,
            Numerics.pitch(c.stride, n.heatmapWidth, c.centers),
            Numerics.pitch(c.stride, n.heatmapHeight, c.centers)
        )
    }

    /** Only what the crop touches is copied out of the bitmap. */
    private fun pixels(picture: Bitmap, matrix: Affine, n: Network): Image {
        val (left, top, columns, rows) =
            Numerics.touched(matrix, n.width, n.height, picture.width, picture.height)
        val pixels = IntArray(columns * rows)
        picture.getPixels(pixels, 0, columns, left, top, columns, rows)
        return Image(pixels, picture.width, picture.height, left, top, columns, rows)
    }

    /** A crop's RGB as the network takes it. */
    private fun tensor(rgb: IntArray, n: Network): OnnxTensor {
        val (height, width) = Pair(n.height.toLong(), n.width.toLong())
        if (n.wholePose) {
            val bytes = ByteBuffer.wrap(Numerics.bytes(rgb, contract.bgr))
            return OnnxTensor.createTensor(environment, bytes, longArrayOf(1, height, width, 3), OnnxJavaType.UINT8)
        }
        val floats = FloatBuffer.wrap(Numerics.normalise(rgb, contract.mean, contract.std, contract.bgr))
        return OnnxTensor.createTensor(environment, floats, longArrayOf(1, 3, height, width))
    }

    private fun infer(session: OrtSession, n: Network, input: OnnxTensor): FloatArray {
        session.run(mapOf(n.inputName to input)).use { result ->
            val values = (result.get(n.outputName).get() as OnnxTensor).floatBuffer
            return FloatArray(values.remaining()).also { values.get(it) }
        }
    }

    override fun close() {
        sessions.forEach { it.close() }
    }
}
