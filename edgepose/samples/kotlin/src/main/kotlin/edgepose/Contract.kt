// What artifact.json says about the model beside it. SPDX-License-Identifier: Apache-2.0
package edgepose

import org.json.JSONArray
import org.json.JSONObject

/** The network for one crop size: normalised floats in and heatmaps out, or a whole-pose graph, bytes in and
 * joints out. model: its file, relative to artifact.json */
class Network(json: JSONObject, where: String, val model: String) {
    private val input = json.getJSONObject("input")
    private val output = json.getJSONObject("output")

    val wholePose = output.getString("layout") == "NJ3"
    val inputName: String = input.getString("name")
    val outputName: String = output.getString("name")
    val height = input.getJSONArray("shape").getInt(if (wholePose) 1 else 2)
    val width = input.getJSONArray("shape").getInt(if (wholePose) 2 else 3)
    val heatmapHeight = if (wholePose) 0 else output.getJSONArray("shape").getInt(2)
    val heatmapWidth = if (wholePose) 0 else output.getJSONArray("shape").getInt(3)

    init {
        val ports = listOf(where, input.getString("layout"), output.getString("layout"))
        require(ports == listOf("host", "NCHW", "NCHW") || ports == listOf("graph", "NHWC", "NJ3")) {
            "this sample takes models to heatmaps and whole-pose graphs"
        }
    }
}

class Contract(json: JSONObject) {
    private val preprocessing = json.getJSONObject("preprocessing")
    private val cropping = json.getJSONObject("crop")
    private val codec = json.getJSONObject("codec")
    private val skeleton = json.getJSONObject("skeleton")

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

    /** One for each crop size: whole-pose graphs where artifact.json lists them, else heatmaps. */
    val networks: List<Network>
    val sizes: List<CropSize>

    init {
        require(json.getInt("schema_version") == 1) { "artifact.json is of another version" }
        val paths = objects(json.getJSONArray("files")).associate { it.getString("role") to it.getString("path") }
        val variants = objects(json.optJSONArray("variants") ?: JSONArray()).filter { it.getInt("batch") == 1 }
        val whole = variants.filter { it.getString("gives") == "joints" }
        val chosen = if (whole.isNotEmpty()) whole else variants
        val main = Network(json, preprocessing.getString("where"), paths.getValue("model"))
        networks = if (chosen.isEmpty()) listOf(main) else chosen.map {
            Network(it, it.getString("where"), paths.getValue(it.getString("role")))
        }
        sizes = networks.map { CropSize(it.width, it.height) }
    }

    private fun objects(array: JSONArray): List<JSONObject> = List(array.length()) { array.getJSONObject(it) }

    private fun doubles(array: JSONArray): DoubleArray = DoubleArray(array.length()) { array.getDouble(it) }
}
