// CameraX frames to skeletons. SPDX-License-Identifier: Apache-2.0
package edgepose

import android.graphics.Bitmap
import android.graphics.Matrix
import androidx.camera.core.ImageAnalysis
import androidx.camera.core.ImageProxy

/**
 * imageAnalysis.setAnalyzer(executor, CameraPose(estimator) { joints, width, height -> draw(joints) })
 *
 * The person is looked for in the whole picture, then around the last joints; an app with a person
 * detector gives its boxes to PoseEstimator instead. onJoints: in pixels of the upright picture; called on
 * the executor.
 */
class CameraPose(
    private val estimator: PoseEstimator,
    private val surenessWanted: Float = 0.3f,
    private val onJoints: (joints: List<Joint>, width: Int, height: Int) -> Unit
) : ImageAnalysis.Analyzer {
    private var box: Box? = null

    override fun analyze(frame: ImageProxy) {
        frame.use {
            val upright = upright(frame.toBitmap(), frame.imageInfo.rotationDegrees)
            val whole = Box(0.0, 0.0, upright.width.toDouble(), upright.height.toDouble())
            val joints = estimator.joints(upright, box ?: whole)
            box = boxAround(joints.filter { it.score >= surenessWanted })
            onJoints(joints, upright.width, upright.height)
        }
    }

    private fun upright(picture: Bitmap, degrees: Int): Bitmap {
        if (degrees == 0) return picture
        val turn = Matrix().apply { postRotate(degrees.toFloat()) }
        return Bitmap.createBitmap(picture, 0, 0, picture.width, picture.height, turn, true)
    }

    /** null where too few joints are sure: the whole picture is searched again. */
    private fun boxAround(joints: List<Joint>): Box? {
        if (joints.size < 4) return null
        val left = joints.minOf { it.x }.toDouble()
        val top = joints.minOf { it.y }.toDouble()
        val width = joints.maxOf { it.x } - left
        val height = joints.maxOf { it.y } - top
        return if (width >= 1 && height >= 1) Box(left, top, width, height) else null
    }
}
