package org.reactorvfio;

import static com.tngtech.archunit.base.DescribedPredicate.describe;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.classes;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;
import static com.tngtech.archunit.library.dependencies.SlicesRuleDefinition.slices;
import static java.util.stream.Collectors.toUnmodifiableSet;
import static org.assertj.core.api.Assertions.assertThat;

import com.tngtech.archunit.core.domain.JavaClass;
import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.domain.JavaMember;
import com.tngtech.archunit.core.domain.JavaModifier;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import com.tngtech.archunit.lang.ArchCondition;
import com.tngtech.archunit.lang.ConditionEvents;
import com.tngtech.archunit.lang.SimpleConditionEvent;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.function.Predicate;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.reactivestreams.Publisher;
import org.reactivestreams.Subscription;
import org.reactorvfio.vendor.DeviceMatch;
import reactor.core.publisher.BaseSubscriber;

/** The rules between the packages, which the compiler cannot hold. */
class ArchitectureTest {
  private static final String ROOT = "org.reactorvfio";
  private static final String VENDOR = ROOT + ".vendor";

  private static JavaClasses library;
  private static Set<String> exported;

  @BeforeAll
  static void readLibrary() {
    library = new ClassFileImporter().importPath(MainModule.classes());
    exported = MainModule.descriptor().exports().stream()
        .filter(export -> !export.isQualified())
        .map(export -> export.source())
        .collect(toUnmodifiableSet());
  }

  @Test
  void publicSignaturesNameOnlyTypesThatUsersCanName() {
    classes()
        .that()
        .resideInAnyPackage(exported.toArray(String[]::new))
        .should(exposeNoInternals())
        .check(library);
  }

  @Test
  void packagesFormNoCycles() {
    slices().matching(ROOT + ".(*)..").should().beFreeOfCycles().check(library);
  }

  @Test
  void nothingDependsOnKotlin() {
    noClasses()
        .should()
        .dependOnClassesThat()
        .resideInAnyPackage("kotlin..", "kotlinx..")
        .check(library);
  }

  @Test
  void nativeCallsStayWhereDescriptorsAndMemoryAreOwned() {
    classes()
        .that()
        .resideInAPackage(ROOT + ".linux..")
        .should()
        .onlyHaveDependentClassesThat()
        .resideInAnyPackage(
            ROOT + ".linux..",
            ROOT + ".irq..",
            ROOT + ".loop..",
            ROOT + ".kernel..",
            ROOT + ".census..",
            ROOT + ".emulation..",
            ROOT + ".diagnostics..",
            ROOT + ".dma..",
            ROOT + ".region..",
            ROOT + ".power..",
            ROOT + ".bridge..")
        .check(library);
  }

  @Test
  void publishersOfOurOwnAreThoseThatTheTckIsRunOn() {
    classes()
        .that(describe(
            "are publishers or subscriptions",
            type ->
                (type.isAssignableTo(Publisher.class) || type.isAssignableTo(Subscription.class))
                    && !type.isAssignableTo(BaseSubscriber.class)))
        .should()
        .haveNameMatching(".*\\.irq\\.Interrupt(Flux|Subscription)")
        .because(
            "ReactiveStreamsTckTest knows these: everything else is made of Reactor's operators")
        .check(library);
  }

  @Test
  void onlyTheLinuxPackageKnowsJna() {
    noClasses()
        .that()
        .resideOutsideOfPackage(ROOT + ".linux..")
        .should()
        .dependOnClassesThat()
        .resideInAPackage("com.sun.jna..")
        .check(library);
  }

  /** Who has neither Micrometer nor a flight recorder must not notice. */
  @Test
  void optionalLibrariesAreKnownWhereTheyAreMeantAlone() {
    noClasses()
        .that()
        .resideOutsideOfPackage(ROOT + ".micrometer..")
        .should()
        .dependOnClassesThat()
        .resideInAPackage("io.micrometer..")
        .check(library);
    noClasses()
        .that()
        .doNotHaveFullyQualifiedName(ROOT + ".OperationEvent")
        .and()
        .doNotHaveFullyQualifiedName(ROOT + ".loop.LoopWakeup")
        .should()
        .dependOnClassesThat()
        .resideInAPackage("jdk.jfr..")
        .check(library);
  }

  @Test
  void nothingButOurOwnMetersKnowsWhatIsOpen() {
    classes()
        .that()
        .resideInAPackage(ROOT + ".census..")
        .should()
        .onlyHaveDependentClassesThat()
        .resideInAnyPackage(ROOT, ROOT + ".census..", ROOT + ".micrometer..")
        .check(library);
  }

  @Test
  void theNarrowWaistKnowsNeitherTransportsNorTheFrontDoorsParts() {
    noClasses()
        .that()
        .resideInAPackage(ROOT + ".operations..")
        .should()
        .dependOnClassesThat()
        .resideInAnyPackage(
            ROOT + ".kernel..",
            ROOT + ".emulation..",
            ROOT + ".irq..",
            ROOT + ".region..",
            ROOT + ".dma..",
            ROOT + ".loop..",
            ROOT + ".linux..")
        .check(library);
  }

  /** What an operator of somebody else's can do, ours can: no more. */
  @Test
  void operatorsAreBuiltOnWhatIsExportedAlone() {
    classes()
        .that()
        .resideInAPackage(VENDOR + "..")
        .should()
        .onlyDependOnClassesThat(describe(
            "are exported and public, an operator's own, or not ours",
            type -> !type.getPackageName().startsWith(ROOT)
                || type.getPackageName().startsWith(VENDOR)
                || exported.contains(type.getPackageName()) && isVisible(type)))
        .check(library);
  }

  @Test
  void theCoreKnowsNoVendor() {
    noClasses()
        .that()
        .resideOutsideOfPackage(VENDOR + "..")
        .should()
        .dependOnClassesThat()
        .resideInAPackage(VENDOR + ".(*)..")
        .check(library);
    noClasses()
        .that()
        .resideOutsideOfPackage(VENDOR + "..")
        .should()
        .callMethodWhere(describe(
            "names a vendor, device, subsystem or class",
            call -> call.getTargetOwner().isEquivalentTo(DeviceMatch.class)
                && !call.getName().matches("any|matches|specificity|toString")))
        .check(library);
  }

  /**
   * Emulated devices say who they are; the rest of the core does not care. These are vendors that there are operators for, and
   * those whose devices people own.
   */
  @Test
  void theCoreNamesNoVendorsId() throws IOException {
    Pattern id = Pattern.compile(
        "(?i)(0x|\")(1002|1014|1022|106b|1077|10b5|10de|10ec|1106|1137|11ab|11f8|1217|1344|1425"
            + "|144d|14e4|15ad|15b3|1623|168c|177d|17a0|17cb|18d1|1924|1957|19e5|1ab8|1ae0|1af4"
            + "|1b36|1b4b|1b73|1c5c|1d0f|1d78|1d94|1dd8|1de1|1e36|1ed5|8086|c0a9)\\b");
    Path sources = Path.of("src/main/java/org/reactorvfio");
    assertThat(linesWith(id, sources.resolve("emulation"))).isNotEmpty();
    assertThat(linesWith(id, sources))
        .filteredOn(line -> !line.startsWith("vendor/") && !line.startsWith("emulation/"))
        .isEmpty();
  }

  private static List<String> linesWith(Pattern pattern, Path folder) throws IOException {
    List<String> found = new ArrayList<>();
    try (Stream<Path> files = Files.walk(folder)) {
      for (Path file : files.filter(Files::isRegularFile).toList()) {
        Files.readAllLines(file).stream()
            .filter(line -> pattern.matcher(line).find())
            .forEach(line -> found.add(folder.relativize(file) + ": " + line.strip()));
      }
    }
    return found;
  }

  @Test
  void vendorsDoNotKnowEachOther() {
    slices().matching(VENDOR + ".(*)..").should().notDependOnEachOther().check(library);
  }

  private static ArchCondition<JavaClass> exposeNoInternals() {
    return new ArchCondition<>("expose no type of an unexported package") {
      @Override
      public void check(JavaClass type, ConditionEvents events) {
        if (!isVisible(type)) {
          return;
        }
        Stream<JavaClass> supertypes =
            Stream.concat(type.getRawSuperclass().stream(), type.getRawInterfaces().stream());
        report(type, type.getName(), supertypes, events);
        for (JavaMember member : type.getMembers()) {
          if (isVisible(member.getModifiers())) {
            report(type, member.getFullName(), member.getAllInvolvedRawTypes().stream(), events);
          }
        }
      }
    };
  }

  private static void report(
      JavaClass owner, String where, Stream<JavaClass> used, ConditionEvents events) {
    used.map(JavaClass::getBaseComponentType)
        .filter(isInternal())
        .forEach(type ->
            events.add(SimpleConditionEvent.violated(owner, where + " exposes " + type.getName())));
  }

  private static Predicate<JavaClass> isInternal() {
    return type -> {
      String name = type.getPackageName();
      return (name.equals(ROOT) || name.startsWith(ROOT + ".")) && !exported.contains(name);
    };
  }

  private static boolean isVisible(JavaClass type) {
    return isVisible(type.getModifiers())
        && type.getEnclosingClass().map(ArchitectureTest::isVisible).orElse(true);
  }

  private static boolean isVisible(Set<JavaModifier> modifiers) {
    return modifiers.contains(JavaModifier.PUBLIC) || modifiers.contains(JavaModifier.PROTECTED);
  }
}
