package org.reactorvfio;

import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.classes;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;
import static com.tngtech.archunit.library.dependencies.SlicesRuleDefinition.slices;
import static java.util.stream.Collectors.toUnmodifiableSet;

import com.tngtech.archunit.core.domain.JavaClass;
import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.domain.JavaMember;
import com.tngtech.archunit.core.domain.JavaModifier;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import com.tngtech.archunit.lang.ArchCondition;
import com.tngtech.archunit.lang.ConditionEvents;
import com.tngtech.archunit.lang.SimpleConditionEvent;
import java.util.Set;
import java.util.function.Predicate;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** The rules between the packages, which the compiler cannot hold. */
class ArchitectureTest {
  private static final String ROOT = "org.reactorvfio";

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
            ROOT + ".emulation..",
            ROOT + ".dma..",
            ROOT + ".region..",
            ROOT + ".power..")
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
