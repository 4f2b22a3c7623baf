plugins {
    id("com.android.library") version "8.5.2"
    id("org.jetbrains.kotlin.android") version "2.0.21"
}

android {
    namespace = "edgepose.sample"
    compileSdk = 34
    defaultConfig { minSdk = 24 }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }
    kotlinOptions { jvmTarget = "17" }
    // ONNX Runtime reads the model from the assets as they are.
    androidResources { noCompress += listOf("ort", "onnx") }
}

dependencies {
    // Any version from 1.18 on; artifact.json's provenance.versions says which one wrote the file.
    implementation("com.microsoft.onnxruntime:onnxruntime-android:1.20.0")
    implementation("androidx.camera:camera-core:1.4.0")
    testImplementation("junit:junit:4.13.2")
}
