// What artifact.json says about the model beside it. SPDX-License-Identifier: Apache-2.0
package edgepose

import org.json.JSONArray
import org.json.JSONObject

class Contract(json: JSONObject) {
    private val input = json.getJSONObject("input")
    private val output = json.getJSONObject("output")
    private val preprocessing = json.getJSONObject("preprocessing")
    private val cropping = json.getJSONObject("crop")
    private val codec = json.getJSONObject("codec")
    private val skeleton = json.getJSONObject("skeleton")

    val inputName: String = input.getString("name")
    val outputName: String = output.getString("name")
    val height = input.getJSONArray("shape").getInt(2)
    val width = input.getJSONArray("shape").getInt(3)
    val heatmapHeight = output.getJSONArray("shape").getInt(2)
    val heatmapWidth = output.getJSONArray("shape").getInt(3)

    val joints: List<String> = skeleton.getJSONArray("joints").let { a -> List(a.length()) { a.getString(it) } }

    /** Pairs of joints that a line connects. */
    val limbs: List<Pair<Int, Int>> = skeleton.getJSONArray("limbs").let { a ->
        List(a.length()) { a.getJSONArray(it).getInt(0) to a.getJSONArray(it).getInt(1) }
    }
    val mean = doubles(preprocessing.getJSONArray("mean"))
    val std = doubles(preprocessing.getJSONArray("std"))
    val bgr = preprocessing.getString("color") == "BGR"
    val padding = cropping.getDouble("padding")
    val centers = cropping.getString("alignment") == "centers"
    val stride = codec.getInt("stride")
    val sigma = codec.getDouble("sigma")
    val rule: Rule = when (val word = codec.getString("rule")) {
        "argmax-quarter-pixel" -> Rule.QUARTER_PIXEL
        "argmax-dark" -> Rule.DARK
        "argmax-dark-udp" -> Rule.DARK_UDP
        else -> throw IllegalArgumentException("this sample cannot decode by $word")
    }

    /** The counted model file, relative to artifact.json. */
    val model: String = json.getJSONArray("files").let { files ->
        (0 until files.length()).map { files.getJSONObject(it) }
            .first { it.getString("role") == "model" }
            .getString("path")
    }

    init {
        require(json.getInt("schema_version") == 1) { "artifact.json is of another version" }
        require(
            preprocessing.getString("where") == "host" &&
                input.getString("layout") == "NCHW" && output.getString("layout") == "NCHW"
        ) { "this sample takes models from normalised pixels to heatmaps" }
    }

    private fun doubles(array: JSONArray): DoubleArray = DoubleArray(array.length()) { array.getDouble(it) }
}
