import org.jetbrains.kotlin.gradle.dsl.JvmTarget

plugins {
    id("com.android.library")
    id("org.jetbrains.kotlin.android") // not with version 9 of the Android plugin, which compiles Kotlin itself
}

android {
    namespace = "edgepose.sample"
    compileSdk = 34
    defaultConfig { minSdk = 24 }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }
}

kotlin {
    compilerOptions { jvmTarget = JvmTarget.JVM_17 }
}

dependencies {
    // 1.18 reads the models; Google Play wants libraries for 16 KB pages, which 1.20 has not.
    implementation("com.microsoft.onnxruntime:onnxruntime-android:1.23.2")
    implementation("androidx.camera:camera-core:1.4.0")
    testImplementation("junit:junit:4.13.2")
}
