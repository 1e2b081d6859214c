package org.reactorvfio;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.File;
import java.io.IOException;
import java.lang.module.Configuration;
import java.lang.module.ModuleDescriptor;
import java.lang.module.ModuleDescriptor.Requires;
import java.lang.module.ModuleFinder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Set;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

class ModuleDescriptorTest {
  private static final Set<String> INTERNAL = Set.of(
      "org.reactorvfio.census",
      "org.reactorvfio.linux",
      "org.reactorvfio.loop",
      "org.reactorvfio.kernel");

  /** What only the bridge needs. */
  private static final Set<String> BRIDGE = Set.of(
      "com.fasterxml.jackson.core",
      "io.netty.buffer",
      "io.netty.codec",
      "io.netty.codec.http",
      "io.netty.common",
      "io.netty.handler",
      "io.netty.transport",
      "io.netty.transport.unix.common",
      "reactor.netty.core",
      "reactor.netty.http");

  private final ModuleDescriptor descriptor = MainModule.descriptor();

  @Test
  void exportsNoInternals() {
    assertThat(descriptor.exports())
        .noneMatch(ModuleDescriptor.Exports::isQualified)
        .extracting(ModuleDescriptor.Exports::source)
        .contains("org.reactorvfio", "org.reactorvfio.operations", "org.reactorvfio.irq")
        .doesNotContainAnyElementsOf(INTERNAL);
    assertThat(descriptor.isOpen()).isFalse();
  }

  @Test
  void runsWithoutTheOptionalLibraries() {
    assertThat(descriptor.requires())
        .filteredOn(requires -> requires.modifiers().contains(Requires.Modifier.STATIC))
        .extracting(Requires::name)
        .filteredOn(name -> !BRIDGE.contains(name))
        .containsExactlyInAnyOrder(
            "org.jspecify",
            "reactor.blockhound",
            "jdk.jfr",
            "micrometer.core",
            "micrometer.observation",
            "micrometer.commons");
    assertThat(descriptor.requires())
        .filteredOn(requires -> BRIDGE.contains(requires.name()))
        .hasSameSizeAs(BRIDGE)
        .allMatch(requires -> requires.modifiers().contains(Requires.Modifier.STATIC));
  }

  /** The class path has its own list. */
  @Test
  void providesTheSameOperatorsOnBothPaths() throws IOException {
    String service = "org.reactorvfio.vendor.VendorOperator";
    assertThat(descriptor.uses()).contains(service);
    assertThat(descriptor.provides())
        .filteredOn(provides -> provides.service().equals(service))
        .flatExtracting(ModuleDescriptor.Provides::providers)
        .isNotEmpty()
        .containsExactlyInAnyOrderElementsOf(
            Files.readAllLines(MainModule.classes().resolve("META-INF/services/" + service)));
  }

  @Test
  void resolvesOnTheModulePath() {
    Path[] jars = Stream.of(
            System.getProperty("java.class.path").split(Pattern.quote(File.pathSeparator)))
        .map(Path::of)
        .filter(path -> path.getFileName()
            .toString()
            .matches("(reactor-core|reactive-streams|jna)-[0-9.]+\\.jar"))
        .toArray(Path[]::new);
    ModuleFinder finder =
        ModuleFinder.compose(ModuleFinder.of(MainModule.classes()), ModuleFinder.of(jars));

    Configuration resolved = ModuleLayer.boot()
        .configuration()
        .resolve(finder, ModuleFinder.of(), Set.of("org.reactorvfio"));

    assertThat(resolved.findModule("org.reactorvfio")).isPresent();
    assertThat(resolved.findModule("reactor.core")).isPresent();
    assertThat(resolved.findModule("com.sun.jna")).isPresent();
  }
}
